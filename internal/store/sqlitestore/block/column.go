package block

import (
	"encoding/binary"
	"slices"

	"github.com/picket-edr/picket/internal/store"
)

// A column is one field of a block: the distinct values it has, and which of
// them each event has. An event has no value, one, or a tuple of several.
// Encoded, it is:
//
//	number of values, their lengths, their bytes
//	number of tuples; each: number of values, their indexes
//	width of a code in bytes (1 or 2), a code for each event:
//	    0 no value, 1 the first value not used so far, c+2 entry c
//
// The entries are the values, followed by the tuples. Values are ordered by the
// first event that has them, so a column of distinct values is all ones.
type column struct {
	values []string
	tuples [][]uint16
	rows   []uint16 // the entry of each event + 1, 0 if it has no value
}

const (
	codeMissing    = 0
	codeNextUnused = 1
	codeFirstEntry = 2

	// maxColumnEntries leaves room for the codes.
	maxColumnEntries = 1<<16 - 8
)

func (c *column) encode(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.values)))
	dst = appendLengthsAndBytes(dst, c.values)
	dst = binary.AppendUvarint(dst, uint64(len(c.tuples)))
	for _, t := range c.tuples {
		dst = binary.AppendUvarint(dst, uint64(len(t)))
		for _, v := range t {
			dst = binary.AppendUvarint(dst, uint64(v))
		}
	}
	if len(c.values)+len(c.tuples)+codeFirstEntry <= 1<<8 {
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
			f(codeNextUnused)
			next++
		default:
			f(uint16(e + codeFirstEntry))
			if e >= len(c.values) {
				next = max(next, int(slices.Max(c.tuples[e-len(c.values)]))+1)
			}
		}
	}
}

// decodeColumn reads the column of a block of n events. The values are copies.
func decodeColumn(b []byte, n int) (*column, error) {
	r := byteReader{b: b}
	col := &column{}
	col.values = r.readStrings(r.readCount())
	col.tuples = make([][]uint16, r.readCount())
	for i := range col.tuples {
		t := make([]uint16, r.readCount())
		for k := range t {
			v := r.readUvarint()
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
	width := int(r.readByte())
	if r.err != nil || width != 1 && width != 2 || len(r.b) != n*width {
		return nil, ErrCorrupt
	}
	return col, col.readCodes(r.b, width, n)
}

func (c *column) readCodes(codes []byte, width, n int) error {
	c.rows = make([]uint16, n)
	next, entries := 0, len(c.values)+len(c.tuples)
	for i := range c.rows {
		var code int
		if width == 1 {
			code = int(codes[i])
		} else {
			code = int(binary.LittleEndian.Uint16(codes[2*i:]))
		}
		switch {
		case code == codeMissing:
			continue
		case code == codeNextUnused:
			code = next + codeFirstEntry
			next++
		}
		e := code - codeFirstEntry
		if e >= entries {
			return ErrCorrupt
		}
		if e >= len(c.values) {
			next = max(next, int(slices.Max(c.tuples[e-len(c.values)]))+1)
		}
		c.rows[i] = uint16(e + 1)
	}
	return nil
}

// match sets the bit of each row that has a value for which ok returns true. It
// returns the error of ctxChecker.
func (c *column) match(ok func(string) bool, ctxChecker *store.ContextChecker, bits bitset) error {
	matching := make([]bool, 1+len(c.values)+len(c.tuples))
	any := false
	for i, v := range c.values {
		if err := ctxChecker.CountBytes(len(v)); err != nil {
			return err
		}
		if ok(v) {
			matching[1+i], any = true, true
		}
	}
	if !any {
		return nil
	}
	for i, t := range c.tuples {
		for _, v := range t {
			if matching[1+v] {
				matching[1+len(c.values)+i] = true
				break
			}
		}
	}
	for i, r := range c.rows {
		if matching[r] {
			bits.set(i)
		}
	}
	return nil
}

// value returns the value of a row in a column without tuples, "" if it has none.
func (c *column) value(row int) string {
	if r := int(c.rows[row]); r > 0 && r <= len(c.values) {
		return c.values[r-1]
	}
	return ""
}

// appendValues appends the values of a row.
func (c *column) appendValues(dst []string, row int) []string {
	switch e := int(c.rows[row]) - 1; {
	case e < 0:
	case e < len(c.values):
		dst = append(dst, c.values[e])
	default:
		for _, v := range c.tuples[e-len(c.values)] {
			dst = append(dst, c.values[v])
		}
	}
	return dst
}
