package block

import (
	"encoding/binary"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// A columnBuilder collects the values of one field in a block.
type columnBuilder struct {
	name       string
	indexOf    map[string]uint16
	values     []string
	rows       []uint16 // as in column; ends with the last event that has a value
	tuples     map[int][]uint16
	lastValue  string // the value added last, which is often added again
	lastIndex  uint16
	valueBytes int
	// filteredIn is, for each value, the frame (+1) whose text filter has it.
	filteredIn []uint16
	lastRow    []int32 // that has it, for each value
	// derived: some value is not in the JSON of its event.
	derived bool
	// full: there were more values than a column can have.
	full bool
}

func newColumnBuilder(name string, n int) *columnBuilder {
	return &columnBuilder{name: name, indexOf: make(map[string]uint16), rows: make([]uint16, 0, n)}
}

// indexOrAdd records that a row has value v. Rows must not decrease from call to call.
// It returns the value's index, or -1 if the column is full.
func (b *columnBuilder) indexOrAdd(row int, v string) int {
	if b.full {
		return -1
	}
	at := b.lastIndex
	if len(b.values) == 0 || v != b.lastValue {
		var ok bool
		if at, ok = b.indexOf[v]; !ok {
			if len(b.values)+len(b.tuples) >= maxColumnEntries {
				b.full = true
				return -1
			}
			at = uint16(len(b.values))
			b.indexOf[v] = at
			b.values = append(b.values, v)
			b.filteredIn = append(b.filteredIn, 0)
			b.lastRow = append(b.lastRow, -1)
			b.valueBytes += len(v)
		}
		b.lastValue, b.lastIndex = v, at
	}
	if b.lastRow[at] == int32(row) {
		return int(at)
	}
	b.lastRow[at] = int32(row)
	if row < len(b.rows) {
		b.addValueToTuple(row, at)
		return int(at)
	}
	for len(b.rows) < row {
		b.rows = append(b.rows, 0)
	}
	b.rows = append(b.rows, at+1)
	return int(at)
}

// addValueToTuple adds another value to a row that has others.
func (b *columnBuilder) addValueToTuple(row int, at uint16) {
	if b.tuples == nil {
		b.tuples = make(map[int][]uint16)
	}
	t := b.tuples[row]
	if t == nil {
		t = []uint16{b.rows[row] - 1}
	}
	b.tuples[row] = append(t, at)
}

// isTooCostly reports whether the column would cost more than it saves; a search
// for its values then reads the events themselves.
func (b *columnBuilder) isTooCostly(eventBytes int) bool {
	return b.full || b.valueBytes > 32<<10 && b.valueBytes > eventBytes/16
}

// mirrorsBuiltin reports whether the field is a store.BuiltinField and no event
// has a value in it other than the built-in one.
func (b *columnBuilder) mirrorsBuiltin(evs []picket.Event) bool {
	if _, ok := store.BuiltinField(&picket.Event{}, b.name); !ok || len(b.tuples) > 0 || b.full {
		return false
	}
	for row, r := range b.rows {
		if v, _ := store.BuiltinField(&evs[row], b.name); r != 0 && b.values[r-1] != v {
			return false
		}
	}
	return true
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
