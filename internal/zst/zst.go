// Package zst compresses with zstd. The process shares one set of encoders and
// decoders, so memory stays bounded however many goroutines compress.
package zst

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// windowBytes is the history that an encoder keeps. Batches are about a megabyte, so
// more would cost memory for nothing.
const windowBytes = 1 << 20

var speedEncoder = sync.OnceValue(func() *zstd.Encoder { return newEncoder(zstd.SpeedFastest) })
var highRatioEncoder = sync.OnceValue(func() *zstd.Encoder { return newEncoder(zstd.SpeedDefault) })

func newEncoder(level zstd.EncoderLevel) *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(windowBytes),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}

// CompressForSpeed appends src, compressed for speed, to dst.
func CompressForSpeed(dst, src []byte) []byte { return speedEncoder().EncodeAll(src, dst) }

// CompressForSize appends src, compressed for size, to dst.
func CompressForSize(dst, src []byte) []byte { return highRatioEncoder().EncodeAll(src, dst) }

var streamEncoders = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(windowBytes), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}}

// CompressParts appends the totalBytes bytes that parts writes, compressed for speed, to dst. It
// needs no contiguous copy of them.
func CompressParts(dst []byte, totalBytes int, parts func(write func([]byte))) []byte {
	out := bytes.NewBuffer(dst)
	e := streamEncoders.Get().(*zstd.Encoder)
	defer streamEncoders.Put(e)
	e.ResetContentSize(out, int64(totalBytes))
	// Writing to memory fails only if totalBytes is wrong, and then Close returns an
	// error.
	parts(func(p []byte) { e.Write(p) })
	if err := e.Close(); err != nil {
		panic(fmt.Sprintf("compress %d bytes: %v", totalBytes, err))
	}
	return out.Bytes()
}

// DecompressedSize returns the decompressed size that a frame declares, or 0 if it declares
// none.
func DecompressedSize(frame []byte) int {
	var h zstd.Header
	if err := h.Decode(frame[:min(len(frame), zstd.HeaderMaxSize)]); err != nil || !h.HasFCS || h.FrameContentSize > maxDecodedBytes {
		return 0
	}
	return int(h.FrameContentSize)
}

// maxDecodedBytes bounds the decompressed size of a frame.
const maxDecodedBytes = 1 << 30

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxDecodedBytes))
	if err != nil {
		panic(err)
	}
	return d
})

// NewReader returns a reader of src, decompressed, which takes little memory whatever
// the decompressed size. The caller must close it.
func NewReader(src []byte) (io.ReadCloser, error) {
	d, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8*windowBytes))
	if err != nil {
		return nil, fmt.Errorf("decompress %d bytes: %w", len(src), err)
	}
	return d.IOReadCloser(), nil
}

// Decompress appends src, decompressed, to dst. It is for frames that picket wrote,
// which declare their size. Request bodies are streamed instead.
func Decompress(dst, src []byte) ([]byte, error) {
	out, err := decoder().DecodeAll(src, dst)
	if err != nil {
		return nil, fmt.Errorf("decompress %d bytes: %w", len(src), err)
	}
	return out, nil
}
