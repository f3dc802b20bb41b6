package sqlitestore

import (
	"encoding/binary"
	"slices"
)

// A columnBuilder collects the values of one field over a block.
type columnBuilder struct {
	name       string
	indexOf    map[string]uint16
	values     []string
	rows       []uint16 // as in column; as long as the last event that has a value + 1
	tuples     map[int][]uint16
	lastValue  string // the value of the event before, which often comes again
	lastIndex  uint16
	valueBytes int
	// seen is, for each value, the frame (+1) whose text filter has it.
	filteredIn []uint16
	// derived says that some value is not in the text of its event.
	derived bool
	// full says that there were more values than a column can have.
	full bool
}

func newColumnBuilder(name string, n int) *columnBuilder {
	return &columnBuilder{name: name, indexOf: make(map[string]uint16), rows: make([]uint16, 0, n)}
}

// add notes that event row, not before the one of the last call, has value v,
// and returns the value's index, or -1 if the column is full.
func (b *columnBuilder) add(row int, v string) int {
	if b.full {
		return -1
	}
	at := b.lastIndex
	if len(b.values) == 0 || v != b.lastValue {
		var ok bool
		if at, ok = b.indexOf[v]; !ok {
			if len(b.values)+len(b.tuples) >= maxEntries {
				b.full = true
				return -1
			}
			at = uint16(len(b.values))
			b.indexOf[v] = at
			b.values = append(b.values, v)
			b.filteredIn = append(b.filteredIn, 0)
			b.valueBytes += len(v)
		}
		b.lastValue, b.lastIndex = v, at
	}
	if row < len(b.rows) {
		b.addToTuple(row, at)
		return int(at)
	}
	for len(b.rows) < row {
		b.rows = append(b.rows, 0)
	}
	b.rows = append(b.rows, at+1)
	return int(at)
}

// addToTuple adds a further value to an event that has one.
func (b *columnBuilder) addToTuple(row int, at uint16) {
	if b.rows[row] == at+1 {
		return
	}
	if b.tuples == nil {
		b.tuples = make(map[int][]uint16)
	}
	t := b.tuples[row]
	if t == nil {
		t = []uint16{b.rows[row] - 1}
	}
	if !slices.Contains(t, at) {
		b.tuples[row] = append(t, at)
	}
}

// tooLarge reports whether the column would cost more than it saves: a search for
// its values reads the events themselves.
func (b *columnBuilder) tooLarge(raw int) bool {
	return b.full || b.valueBytes > 32<<10 && b.valueBytes > raw/16
}

// build returns the column of a block of n events.
func (b *columnBuilder) build(n int) *column {
	for len(b.rows) < n {
		b.rows = append(b.rows, 0)
	}
	c := &column{values: b.values, rows: b.rows}
	if len(b.tuples) == 0 {
		return c
	}
	known := make(map[string]uint16)
	var key []byte
	for row := range n {
		t := b.tuples[row]
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
