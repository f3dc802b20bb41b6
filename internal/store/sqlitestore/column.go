package sqlitestore

import (
	"encoding/binary"
	"slices"
)

// A column is one field of a block: the distinct texts it has, and for each
// event which of them. An event has none (missing), one, or a tuple of several.
//
//	number of values, their lengths, their bytes
//	number of tuples; each: number of values, their indexes
//	width of a code in bytes (1 or 2), a code for each event:
//	    0 missing, 1 the first value not yet seen, c+2 entry c
//
// An entry is a value, or past those a tuple. Values stand in the order of
// their first event, so that a column of distinct values is all ones.
type column struct {
	values []string
	tuples [][]uint16
	rows   []uint16 // an event's entry + 1, 0 missing
}

const (
	codeMissing = 0
	codeNext    = 1
	codeEntry   = 2

	// maxEntries leaves room for the codes.
	maxEntries = 1<<16 - 8
)

func (c *column) encode(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.values)))
	dst = appendStrings(dst, c.values)
	dst = binary.AppendUvarint(dst, uint64(len(c.tuples)))
	for _, t := range c.tuples {
		dst = binary.AppendUvarint(dst, uint64(len(t)))
		for _, v := range t {
			dst = binary.AppendUvarint(dst, uint64(v))
		}
	}
	if len(c.values)+len(c.tuples)+codeEntry <= 1<<8 {
		dst = append(dst, 1)
		c.eachCode(func(code uint16) { dst = append(dst, byte(code)) })
	} else {
		dst = append(dst, 2)
		c.eachCode(func(code uint16) { dst = binary.LittleEndian.AppendUint16(dst, code) })
	}
	return dst
}

func (c *column) eachCode(f func(uint16)) {
	next := 0
	for _, r := range c.rows {
		switch e := int(r) - 1; {
		case e < 0:
			f(codeMissing)
		case e == next && e < len(c.values):
			f(codeNext)
			next++
		default:
			f(uint16(e + codeEntry))
			if e >= len(c.values) {
				next = max(next, int(slices.Max(c.tuples[e-len(c.values)]))+1)
			}
		}
	}
}

// decodeColumn reads the column of a block of n events. Its values are copies.
func decodeColumn(b []byte, n int) (*column, error) {
	c := byteReader{b: b}
	col := &column{}
	col.values = c.strings(c.count())
	col.tuples = make([][]uint16, c.count())
	for i := range col.tuples {
		t := make([]uint16, c.count())
		for k := range t {
			v := c.uvarint()
			if v >= uint64(len(col.values)) {
				return nil, ErrCorrupt
			}
			t[k] = uint16(v)
		}
		if len(t) == 0 {
			return nil, ErrCorrupt
		}
		col.tuples[i] = t
	}
	width := int(c.byte())
	if c.err != nil || width != 1 && width != 2 || len(c.b) != n*width {
		return nil, ErrCorrupt
	}
	col.rows = make([]uint16, n)
	next, entries := 0, len(col.values)+len(col.tuples)
	for i := range col.rows {
		var code int
		if width == 1 {
			code = int(c.b[i])
		} else {
			code = int(binary.LittleEndian.Uint16(c.b[2*i:]))
		}
		switch {
		case code == codeMissing:
			continue
		case code == codeNext:
			code = next + codeEntry
			next++
		}
		e := code - codeEntry
		if e >= entries {
			return nil, ErrCorrupt
		}
		if e >= len(col.values) {
			next = max(next, int(slices.Max(col.tuples[e-len(col.values)]))+1)
		}
		col.rows[i] = uint16(e + 1)
	}
	return col, nil
}

// match sets the bit of each event with a value that ok takes.
func (c *column) match(ok func(string) bool, bits bitset) {
	hit := make([]bool, 1+len(c.values)+len(c.tuples))
	any := false
	for i, v := range c.values {
		if ok(v) {
			hit[1+i], any = true, true
		}
	}
	if !any {
		return
	}
	for i, t := range c.tuples {
		for _, v := range t {
			if hit[1+v] {
				hit[1+len(c.values)+i] = true
				break
			}
		}
	}
	for i, r := range c.rows {
		if hit[r] {
			bits.set(i)
		}
	}
}

// A bitset has a bit for each event of a block.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func fullBitset(n int) bitset {
	b := newBitset(n)
	for i := range b {
		b[i] = ^uint64(0)
	}
	if n%64 != 0 {
		b[len(b)-1] = 1<<(n%64) - 1
	}
	return b
}

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int)    { b[i/64] &^= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b bitset) and(o bitset) {
	for i := range b {
		b[i] &= o[i]
	}
}

func (b bitset) or(o bitset) {
	for i := range b {
		b[i] |= o[i]
	}
}

// not returns the complement within n bits.
func (b bitset) not(n int) bitset {
	out := fullBitset(n)
	for i := range out {
		out[i] &^= b[i]
	}
	return out
}

func (b bitset) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}
