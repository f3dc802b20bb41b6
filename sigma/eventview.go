package sigma

import (
	"github.com/picket-edr/picket/sigma/casefold"
	"github.com/picket-edr/picket/sigma/internal/literalindex"
)

// An eventView holds the values of an event by field, and folds them when they
// are first needed. Its memory is reused for the next event.
type eventView struct {
	epoch  uint32 // identifies the event; state of another epoch is stale
	slots  []fieldSlot
	values []eventValue
	arena  []byte // memory of folded and copied values
}

// A fieldSlot holds the values of one field.
type fieldSlot struct {
	epoch       uint32
	first, last int32 // indexes into eventView.values
}

type eventValue struct {
	Value
	isFolded, isCopied bool
	ascii              bool     // valid once folded
	fold, raw          byteSpan // in the arena, once folded or copied
	next               int32    // next value of the same field, or -1
	field              int32    // index into the event's fields
}

type byteSpan struct{ from, to int32 }

// What is kept for the next event is bounded.
const (
	maxReusedArenaBytes = 1 << 20
	maxReusedValueSlots = 1 << 12
)

// reset makes room for the next event. If it returns true, epochs are counted
// from the start again and all other state by epoch must be cleared.
func (v *eventView) reset(fieldCount int) (wrapped bool) {
	if cap(v.arena) > maxReusedArenaBytes {
		v.arena = nil
	}
	if cap(v.values) > maxReusedValueSlots {
		v.values = nil
	}
	v.arena, v.values = v.arena[:0], v.values[:0]
	if len(v.slots) != fieldCount {
		v.slots = make([]fieldSlot, fieldCount)
	}
	if v.epoch++; v.epoch == literalindex.EpochLimit {
		clear(v.slots)
		v.epoch = 1
		return true
	}
	return false
}

// addValue appends the value of the event's field with that index and returns the
// index of the value.
func (v *eventView) addValue(fieldID int32, fieldIndex int, value Value) (valueIndex int32) {
	n := int32(len(v.values))
	v.values = append(v.values, eventValue{Value: value, next: -1, field: int32(fieldIndex)})
	if fieldID >= 0 {
		s := &v.slots[fieldID]
		if s.epoch == v.epoch {
			v.values[s.last].next = n
		} else {
			s.epoch, s.first = v.epoch, n
		}
		s.last = n
	}
	return n
}

// firstValueIndex returns the first value of a field, or -1.
func (v *eventView) firstValueIndex(fieldID int32) int32 {
	if s := &v.slots[fieldID]; s.epoch == v.epoch {
		return s.first
	}
	return -1
}

// foldedValue returns value i folded.
func (v *eventView) foldedValue(valueIndex int32) []byte {
	val := &v.values[valueIndex]
	if !val.isFolded {
		val.fold.from = int32(len(v.arena))
		v.arena, val.ascii = casefold.Append(v.arena, val.Text)
		val.fold.to = int32(len(v.arena))
		val.isFolded = true
	}
	return v.arena[val.fold.from:val.fold.to:val.fold.to]
}

// valueBytes returns value i folded or, if cased, as it is.
func (v *eventView) valueBytes(valueIndex int32, cased bool) []byte {
	if !cased {
		return v.foldedValue(valueIndex)
	}
	val := &v.values[valueIndex]
	if !val.isCopied {
		val.raw.from = int32(len(v.arena))
		v.arena = append(v.arena, val.Text...)
		val.raw.to = int32(len(v.arena))
		val.isCopied = true
	}
	return v.arena[val.raw.from:val.raw.to:val.raw.to]
}
