// Package zst is how picket compresses: zstd with one set of encoders and
// decoders shared by the whole process, so that memory stays bounded however
// many goroutines compress.
package zst

import (
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
