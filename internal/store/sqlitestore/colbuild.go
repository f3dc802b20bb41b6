package sqlitestore

import (
	"encoding/binary"
	"slices"
)

// A columnBuilder collects the values of one field over a block.
type columnBuilder struct {
	name   string
	index  map[string]uint16
	values []string
	rows   []uint16 // as in column; as long as the last event that has a value + 1
	multi  map[int][]uint16
	last   string // the value of the event before, which often comes again
	lastAt uint16
	bytes  int
	// seen is, for each value, the frame (+1) whose text filter has it.
	seen []uint16
	// derived says that some value is not in the text of its event.
	derived bool
	// full says that there were more values than a column can have.
	full bool
}

func newColumnBuilder(name string, n int) *columnBuilder {
	return &columnBuilder{name: name, index: make(map[string]uint16), rows: make([]uint16, 0, n)}
}

// add notes that event row, not before the one of the last call, has value v,
// and returns the value's index, or -1 if the column is full.
func (b *columnBuilder) add(row int, v string) int {
	if b.full {
		return -1
	}
	at := b.lastAt
	if len(b.values) == 0 || v != b.last {
		var ok bool
		if at, ok = b.index[v]; !ok {
			if len(b.values)+len(b.multi) >= maxEntries {
				b.full = true
				return -1
			}
			at = uint16(len(b.values))
			b.index[v] = at
			b.values = append(b.values, v)
			b.seen = append(b.seen, 0)
			b.bytes += len(v)
		}
		b.last, b.lastAt = v, at
	}
	if row < len(b.rows) {
		b.another(row, at)
		return int(at)
	}
	for len(b.rows) < row {
		b.rows = append(b.rows, 0)
	}
	b.rows = append(b.rows, at+1)
	return int(at)
}

// another adds a further value to an event that has one.
func (b *columnBuilder) another(row int, at uint16) {
	if b.rows[row] == at+1 {
		return
	}
	if b.multi == nil {
		b.multi = make(map[int][]uint16)
	}
	t := b.multi[row]
	if t == nil {
		t = []uint16{b.rows[row] - 1}
	}
	if !slices.Contains(t, at) {
		b.multi[row] = append(t, at)
	}
}

// wide reports whether the column would cost more than it saves: a search for
// its values reads the events themselves.
func (b *columnBuilder) wide(raw int) bool {
	return b.full || b.bytes > 32<<10 && b.bytes > raw/16
}

// finish returns the column of a block of n events.
func (b *columnBuilder) finish(n int) *column {
	for len(b.rows) < n {
		b.rows = append(b.rows, 0)
	}
	c := &column{values: b.values, rows: b.rows}
	if len(b.multi) == 0 {
		return c
	}
	known := make(map[string]uint16)
	var key []byte
	for row := range n {
		t := b.multi[row]
		if t == nil {
			continue
		}
		key = key[:0]
		for _, v := range t {
			key = binary.LittleEndian.AppendUint16(key, v)
		}
		at, ok := known[string(key)]
		if !ok {
			at = uint16(len(c.tuples))
			known[string(key)] = at
			c.tuples = append(c.tuples, t)
		}
		c.rows[row] = uint16(len(c.values)) + at + 1
	}
	return c
}
