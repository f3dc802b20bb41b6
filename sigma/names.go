package sigma

// A nameTable maps the names of fields to ids faster than a map does: a hash
// of the length and the ends of a name tells nearly all names apart.
type nameTable struct {
	slots []nameSlot // a power of two, open addressing
	shift uint
}

type nameSlot struct {
	name string // "" in a free slot
	id   int32
}

func newNameTable(names map[string]int32) nameTable {
	size, shift := tableSize(4*len(names)+1, 64)
	t := nameTable{slots: make([]nameSlot, size), shift: shift}
	for name, id := range names {
		i := nameHash(name) >> shift
		for t.slots[i].name != "" {
			i = (i + 1) & uint64(size-1)
		}
		t.slots[i] = nameSlot{name, id}
	}
	return t
}

func (t *nameTable) find(name string) (id int32, ok bool) {
	for i := nameHash(name) >> (t.shift & 63); ; i = (i + 1) & uint64(len(t.slots)-1) {
		s := &t.slots[i]
		if s.name == name {
			return s.id, name != ""
		}
		if s.name == "" {
			return 0, false
		}
	}
}

func nameHash(s string) uint64 {
	h := uint64(len(s))
	if len(s) >= 8 {
		h += load64(s)<<8 ^ load64(s[len(s)-8:])
	} else {
		for i := range len(s) {
			h = h<<8 ^ uint64(s[i])
		}
	}
	return h * hashPrime
}
