package sqlitestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/picket-edr/picket/internal/zst"
)

var ErrCorrupt = errors.New("corrupt block")

// A packed part is one byte that says how, and the bytes.
const (
	packedPlain = 0
	packedZstd  = 1
)

// minPackSize is the size below which compressing costs more than it saves.
const minPackSize = 48

// pack appends src to dst, compressed where that makes it smaller.
func pack(dst, src []byte) []byte {
	if len(src) >= minPackSize {
		at := len(dst)
		dst = append(dst, packedZstd)
		dst = zst.Small(dst, src)
		if len(dst)-at <= len(src) {
			return dst
		}
		dst = dst[:at]
	}
	dst = append(dst, packedPlain)
	return append(dst, src...)
}

// unpack returns what was packed. It may alias b, or be scratch grown.
func unpack(scratch, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, ErrCorrupt
	}
	switch b[0] {
	case packedPlain:
		return b[1:], nil
	case packedZstd:
		return zst.Decode(scratch[:0], b[1:])
	}
	return nil, fmt.Errorf("packed as %d: %w", b[0], ErrCorrupt)
}

// A byteReader reads what a part holds. After the first fault everything reads as
// zero, and err says so.
type byteReader struct {
	b   []byte
	err error
}

func (c *byteReader) fail() {
	c.b, c.err = nil, ErrCorrupt
}

func (c *byteReader) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// count reads a number of things of which each takes at least a byte, so
// that a corrupt one can't ask for more memory than the part's own size.
func (c *byteReader) count() int {
	v := c.uvarint()
	if v > uint64(len(c.b)) {
		c.fail()
		return 0
	}
	return int(v)
}

func (c *byteReader) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *byteReader) bytes(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.fail()
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *byteReader) byte() byte {
	if len(c.b) == 0 {
		c.fail()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// strings reads n strings: all lengths, then all bytes. They share one copy.
func (c *byteReader) strings(n int) []string {
	if n > len(c.b) {
		c.fail()
		return nil
	}
	lens := make([]int, n)
	total := 0
	for i := range lens {
		lens[i] = int(c.uvarint())
		if lens[i] < 0 || lens[i] > len(c.b) {
			c.fail()
			return nil
		}
		total += lens[i]
	}
	all := string(c.bytes(total))
	if c.err != nil {
		return nil
	}
	out := make([]string, n)
	for i, l := range lens {
		out[i], all = all[:l], all[l:]
	}
	return out
}

func appendStrings(dst []byte, ss []string) []byte {
	for _, s := range ss {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
	}
	for _, s := range ss {
		dst = append(dst, s...)
	}
	return dst
}
