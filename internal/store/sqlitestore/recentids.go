package sqlitestore

// A hashedEvent is the hash of an event's identity, and what is known of its content.
type hashedEvent struct {
	identityHash uint64
	content      contentHashOrSeq
}

// A contentHashOrSeq is either the hash of an event's bytes or, for an event whose bytes this
// process has not seen, the sequence number under which it is stored.
type contentHashOrSeq uint64

const contentIsHash contentHashOrSeq = 1 << 63

func contentOfHash(h uint64) contentHashOrSeq { return contentHashOrSeq(h) | contentIsHash }

// contentOfStoredSeq is the content of an event that is stored under a sequence number.
func contentOfStoredSeq(seq int64) contentHashOrSeq { return contentHashOrSeq(seq) }

// storedSeq returns the sequence number, if c is one.
func (c contentHashOrSeq) storedSeq() (seq int64, ok bool) {
	return int64(c &^ contentIsHash), c&contentIsHash == 0
}

// A recentEvents contains at least the last ids added to it, as many as it was made
// for, as 64-bit hashes. It consists of four hash tables that are filled one after
// another; when one is full, the oldest is cleared. An id whose hash collides
// with another's is taken for a duplicate: one event in 10^13 with a million ids.
type recentEvents struct {
	tables    [4]hashTable
	current   int
	tableSize int // hashes in a full table
}

func newRecentEvents(size int) *recentEvents {
	w := &recentEvents{tableSize: max(1, (size+2)/3)}
	slots := 16
	for slots*2 < w.tableSize*3 {
		slots *= 2
	}
	for i := range w.tables {
		w.tables[i].slots = make([]hashedEvent, slots)
	}
	return w
}

// find returns what is known of an id; nil if it is not in the window. The pointer is
// valid until the next add.
func (w *recentEvents) find(h uint64) *contentHashOrSeq {
	for i := range w.tables {
		if c := w.tables[i].find(h); c != nil {
			return c
		}
	}
	return nil
}

// add adds an id unless the window has it.
func (w *recentEvents) add(r hashedEvent) {
	if w.find(r.identityHash) != nil {
		return
	}
	if w.tables[w.current].n >= w.tableSize {
		w.current = (w.current + 1) % len(w.tables)
		clear(w.tables[w.current].slots)
		w.tables[w.current].n = 0
	}
	w.tables[w.current].add(r)
}

// A hashTable is a set of hashes with open addressing, at most two thirds full.
// Zero marks a free slot; the hash 0 is stored as 1.
type hashTable struct {
	slots []hashedEvent
	n     int
}

func (t *hashTable) find(h uint64) *contentHashOrSeq {
	h = max(h, 1)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; t.slots[i].identityHash != 0; i = (i + 1) & mask {
		if t.slots[i].identityHash == h {
			return &t.slots[i].content
		}
	}
	return nil
}

func (t *hashTable) add(r hashedEvent) {
	r.identityHash = max(r.identityHash, 1)
	mask := uint64(len(t.slots) - 1)
	i := r.identityHash & mask
	for t.slots[i].identityHash != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = r
	t.n++
}
