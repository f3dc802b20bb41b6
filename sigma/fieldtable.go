package sigma

import "github.com/picket-edr/picket/sigma/internal/word"

// A fieldTable maps names of fields to their numbers. It is faster than a map:
// a hash of the length and the ends of a name distinguishes nearly all names.
type fieldTable struct {
	slots []fieldTableSlot // a power of two, open addressing
	shift uint
}

type fieldTableSlot struct {
	name string // "" in a free slot
	id   int32
}

func newFieldTable(ids map[string]int32) fieldTable {
	size, shift := word.TableSize(4*len(ids)+1, 64)
	t := fieldTable{slots: make([]fieldTableSlot, size), shift: shift}
	for name, id := range ids {
		i := fieldHash(name) >> shift
		for t.slots[i].name != "" {
			i = (i + 1) & uint64(size-1)
		}
		t.slots[i] = fieldTableSlot{name, id}
	}
	return t
}

func (t *fieldTable) find(name string) (id int32, ok bool) {
	for i := fieldHash(name) >> (t.shift & 63); ; i = (i + 1) & uint64(len(t.slots)-1) {
		s := &t.slots[i]
		if s.name == name {
			return s.id, name != ""
		}
		if s.name == "" {
			return 0, false
		}
	}
}

func fieldHash(s string) uint64 {
	h := uint64(len(s))
	if len(s) >= 8 {
		h += word.Load64(s)<<8 ^ word.Load64(s[len(s)-8:])
	} else {
		for i := range len(s) {
			h = h<<8 ^ uint64(s[i])
		}
	}
	return h * word.HashMultiplier64
}
