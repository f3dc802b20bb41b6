package sigma

// A view is an event as atoms see it: its values by field, folded when asked
// for. It holds memory for the next event.
type view struct {
	epoch  uint32 // of the event; what carries another epoch is stale
	slots  []slot // by field id
	values []viewValue
	arena  []byte // of the folded values
}

type slot struct {
	epoch       uint32
	first, last int32 // values of the field
}

type viewValue struct {
	Value
	isFolded, isCopied bool
	ascii              bool  // once folded
	fold, raw          span  // in the arena, once folded or copied
	next               int32 // value of the same field, or -1
	field              int32 // index into the event's fields
}

type span struct{ from, to int32 }

const (
	maxArena  = 1 << 20 // bytes kept for the next event
	maxValues = 1 << 12 // values kept for the next event
)

// reset makes room for the next event; stale reports that every mark of an
// earlier epoch must be wiped.
func (v *view) reset(fields int) (stale bool) {
	if cap(v.arena) > maxArena {
		v.arena = nil
	}
	if cap(v.values) > maxValues {
		v.values = nil
	}
	v.arena, v.values = v.arena[:0], v.values[:0]
	if len(v.slots) != fields {
		v.slots = make([]slot, fields)
	}
	if v.epoch++; v.epoch == maxEpoch {
		clear(v.slots)
		v.epoch = 1
		return true
	}
	return false
}

const maxEpoch = 1 << 29

// add appends the value of the event's field-th field and returns its index.
func (v *view) add(id int32, field int, value Value) int32 {
	n := int32(len(v.values))
	v.values = append(v.values, viewValue{Value: value, next: -1, field: int32(field)})
	if id >= 0 {
		s := &v.slots[id]
		if s.epoch == v.epoch {
			v.values[s.last].next = n
		} else {
			s.epoch, s.first = v.epoch, n
		}
		s.last = n
	}
	return n
}

// first returns the first value of a field, or -1.
func (v *view) first(id int32) int32 {
	if s := &v.slots[id]; s.epoch == v.epoch {
		return s.first
	}
	return -1
}

// folded returns value i folded.
func (v *view) folded(i int32) []byte {
	val := &v.values[i]
	if !val.isFolded {
		val.fold.from = int32(len(v.arena))
		v.arena, val.ascii = appendFold(v.arena, val.Text)
		val.fold.to = int32(len(v.arena))
		val.isFolded = true
	}
	return v.arena[val.fold.from:val.fold.to:val.fold.to]
}

// bytes returns value i folded or, if cased, as it is.
func (v *view) bytes(i int32, cased bool) []byte {
	if !cased {
		return v.folded(i)
	}
	val := &v.values[i]
	if !val.isCopied {
		val.raw.from = int32(len(v.arena))
		v.arena = append(v.arena, val.Text...)
		val.raw.to = int32(len(v.arena))
		val.isCopied = true
	}
	return v.arena[val.raw.from:val.raw.to:val.raw.to]
}
