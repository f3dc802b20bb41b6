// Package zst is how picket compresses: zstd with one set of encoders and
// decoders shared by the whole process, so that memory stays bounded however
// many goroutines compress.
package zst

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Window is the most history an encoder keeps. Batches are a megabyte or so;
// more would cost memory for each encoder and gain nothing.
const window = 1 << 20

var fast = sync.OnceValue(func() *zstd.Encoder { return newEncoder(zstd.SpeedFastest) })
var small = sync.OnceValue(func() *zstd.Encoder { return newEncoder(zstd.SpeedDefault) })

func newEncoder(level zstd.EncoderLevel) *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(window),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}

// Fast appends src, compressed for speed, to dst.
func Fast(dst, src []byte) []byte { return fast().EncodeAll(src, dst) }

// Small appends src, compressed for size, to dst.
func Small(dst, src []byte) []byte { return small().EncodeAll(src, dst) }

var streams = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}}

// Join appends what parts writes, size bytes in all, compressed for speed, to
// dst, without a copy of it in one piece.
func Join(dst []byte, size int, parts func(write func([]byte))) []byte {
	out := bytes.NewBuffer(dst)
	e := streams.Get().(*zstd.Encoder)
	defer streams.Put(e)
	e.ResetContentSize(out, int64(size))
	// Writing to memory fails only where size is wrong, which Close finds.
	parts(func(p []byte) { e.Write(p) })
	if err := e.Close(); err != nil {
		panic(fmt.Sprintf("compress %d bytes: %v", size, err))
	}
	return out.Bytes()
}

// Size returns how many bytes a frame that picket wrote has decompressed, or 0
// where it does not say.
func Size(frame []byte) int {
	var h zstd.Header
	if err := h.Decode(frame[:min(len(frame), zstd.HeaderMaxSize)]); err != nil || !h.HasFCS || h.FrameContentSize > maxDecoded {
		return 0
	}
	return int(h.FrameContentSize)
}

// decoders by limit would each hold their own memory; the limit is checked
// against the frame header instead, and the decoder bounds what has none.
const maxDecoded = 1 << 30

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxDecoded))
	if err != nil {
		panic(err)
	}
	return d
})

// Decode appends src, decompressed, to dst. It is for frames that picket
// wrote itself, which carry their size; foreign bodies are streamed.
func Decode(dst, src []byte) ([]byte, error) {
	out, err := decoder().DecodeAll(src, dst)
	if err != nil {
		return nil, fmt.Errorf("decompress %d bytes: %w", len(src), err)
	}
	return out, nil
}
