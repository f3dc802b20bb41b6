package block

import (
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket/internal/zst"
)

// The first byte of packed bytes says how they are packed.
const (
	packedPlain = 0
	packedZstd  = 1
)

// minPackBytes is the size below which compression costs more than it saves.
const minPackBytes = 48

// compressOrCopy appends src to dst, compressed if that makes it smaller.
func compressOrCopy(dst, src []byte) []byte {
	if len(src) >= minPackBytes {
		start := len(dst)
		dst = append(dst, packedZstd)
		dst = zst.CompressForSize(dst, src)
		if len(dst)-start <= len(src) {
			return dst
		}
		dst = dst[:start]
	}
	dst = append(dst, packedPlain)
	return append(dst, src...)
}

// decompressPacked returns what was packed. The result may alias b or be scratch, grown.
func decompressPacked(scratch, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, ErrCorrupt
	}
	switch b[0] {
	case packedPlain:
		return b[1:], nil
	case packedZstd:
		plain, err := zst.Decompress(scratch[:0], b[1:])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("unknown packing %d: %w", b[0], ErrCorrupt)
}

// A byteReader reads numbers and strings. After the first error everything
// reads as zero, and err is set.
type byteReader struct {
	b   []byte // what is left to read
	err error
}

func (r *byteReader) setCorrupt() {
	r.b, r.err = nil, ErrCorrupt
}

func (r *byteReader) readUvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.setCorrupt()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// readCount reads the number of items that follow. Each item takes at least one
// byte, so a corrupt count cannot ask for more memory than the part has bytes.
func (r *byteReader) readCount() int {
	v := r.readUvarint()
	if v > uint64(len(r.b)) {
		r.setCorrupt()
		return 0
	}
	return int(v)
}

func (r *byteReader) readVarint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.setCorrupt()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *byteReader) readBytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.setCorrupt()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *byteReader) readByte() byte {
	if len(r.b) == 0 {
		r.setCorrupt()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// readStrings reads n strings: all lengths, then all bytes. The strings share one
// copy of the bytes.
func (r *byteReader) readStrings(n int) []string {
	if n > len(r.b) {
		r.setCorrupt()
		return nil
	}
	lengths := make([]int, n)
	total := 0
	for i := range lengths {
		lengths[i] = int(r.readUvarint())
		if lengths[i] < 0 || lengths[i] > len(r.b) {
			r.setCorrupt()
			return nil
		}
		total += lengths[i]
	}
	all := string(r.readBytes(total))
	if r.err != nil {
		return nil
	}
	out := make([]string, n)
	for i, l := range lengths {
		out[i], all = all[:l], all[l:]
	}
	return out
}

// appendLengthsAndBytes writes what byteReader.readStrings reads.
func appendLengthsAndBytes(dst []byte, ss []string) []byte {
	for _, s := range ss {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
	}
	for _, s := range ss {
		dst = append(dst, s...)
	}
	return dst
}

func appendSized(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
