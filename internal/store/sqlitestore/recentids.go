package sqlitestore

// A recentIDs contains at least the last ids added to it, as many as it was made
// for, as 64-bit hashes. It consists of four hash tables that are filled one after
// another; when one is full, the oldest is cleared. An id whose hash collides
// with another's is taken for a duplicate: one event in 10^13 with a million ids.
type recentIDs struct {
	tables    [4]hashTable
	current   int
	tableSize int // hashes in a full table
}

func newIDWindow(size int) *recentIDs {
	w := &recentIDs{tableSize: max(1, (size+2)/3)}
	slots := 16
	for slots*2 < w.tableSize*3 {
		slots *= 2
	}
	for i := range w.tables {
		w.tables[i].slots = make([]uint64, slots)
	}
	return w
}

func (w *recentIDs) has(h uint64) bool {
	for i := range w.tables {
		if w.tables[i].has(h) {
			return true
		}
	}
	return false
}

func (w *recentIDs) add(h uint64) {
	if w.has(h) {
		return
	}
	if w.tables[w.current].n >= w.tableSize {
		w.current = (w.current + 1) % len(w.tables)
		clear(w.tables[w.current].slots)
		w.tables[w.current].n = 0
	}
	w.tables[w.current].add(h)
}

// A hashTable is a set of hashes with open addressing, at most two thirds full.
// Zero marks a free slot; the hash 0 is stored as 1.
type hashTable struct {
	slots []uint64
	n     int
}

func (t *hashTable) has(h uint64) bool {
	h = max(h, 1)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if t.slots[i] == h {
			return true
		}
	}
	return false
}

func (t *hashTable) add(h uint64) {
	h = max(h, 1)
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = h
	t.n++
}
