package sigma

import (
	"encoding/binary"
	"math/bits"
)

// A fieldIndex finds which of many literals stand in a value, without looking
// at most of them. It is immutable.
//
// Literals that end the value (suffix, equals) are found by the last eight
// bytes of the value, in one look-up. Of the others (prefix, contains) each is
// filed under its rarest four bytes, and a bitmap of those, small enough for
// the nearest cache, is asked at every byte of the value. Both then compare
// the whole literal, so a find is never wrong. Literals shorter than that have
// tables of their own.
type fieldIndex struct {
	tails  *tailTable
	grams  []*gramTable
	hits   []hit
	number map[uint64][]numberEntry
	empty  []hit // for the value ""
	always []hit // for any value, null included
}

// A hit is what the find of a literal says about an atom of a group.
type hit struct {
	atom  int32 // index into Group.atoms
	exact bool  // the atom holds; otherwise it may
}

// An entry is a literal of the index; its hits are hits[from:to].
type entry struct {
	text     string // folded
	how      how
	at       int32 // of a gramTable: where in text its gram is
	from, to int32
}

type numberEntry struct {
	number decimal
	hits   []hit
}

// tailBytes is how many bytes at the end of a value are hashed.
const tailBytes = 8

// A tailTable holds the literals that end a value.
type tailTable struct {
	slots   []tailSlot // a power of two, open addressing
	shift   uint
	entries []entry
	short   [tailBytes]bool // a suffix of that length is filed
	equal   [tailBytes]bool // a whole value of that length is filed
	long    bool            // anything of tailBytes or more is filed
}

type tailSlot struct {
	key      uint64
	from, to int32 // into entries; equal in a free slot
}

// tailKey returns the key of the last n bytes of b; n is at most tailBytes.
func tailKey(b []byte, n int) uint64 {
	if n == tailBytes {
		return binary.LittleEndian.Uint64(b[len(b)-tailBytes:])
	}
	key := uint64(n) << 56
	for i, c := range b[len(b)-n:] {
		key |= uint64(c) << (8 * i)
	}
	return key
}

func (t *tailTable) bucket(key uint64) []entry {
	mask := uint64(len(t.slots) - 1)
	for i := (key * hashPrime) >> t.shift; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.from == s.to {
			return nil
		}
		if s.key == key {
			return t.entries[s.from:s.to]
		}
	}
}

// find calls visit with the entries that end b until it returns false.
func (t *tailTable) find(b []byte, visit finder) bool {
	if len(b) >= tailBytes && t.long {
		if !visit.tails(b, t.bucket(tailKey(b, tailBytes))) {
			return false
		}
	}
	for n := 1; n < tailBytes && n <= len(b); n++ {
		if t.short[n] || t.equal[n] && n == len(b) {
			if !visit.tails(b, t.bucket(tailKey(b, n))) {
				return false
			}
		}
	}
	return true
}

// A finder is told what an index finds. It is a struct and no interface to
// keep calls direct: with a matcher, finds mark its atoms; without, the first
// ends the search.
type finder struct {
	m  *Matcher
	g  *Group
	fi *fieldIndex
}

func (f finder) found(e *entry) (more bool) {
	if f.m == nil {
		return false
	}
	f.m.mark(f.g, f.fi.hits[e.from:e.to])
	return true
}

func (f finder) tails(b []byte, entries []entry) (more bool) {
	for i := range entries {
		e := &entries[i]
		if len(e.text) <= len(b) && (e.how == suffix || len(e.text) == len(b)) && string(b[len(b)-len(e.text):]) == e.text {
			if !f.found(e) {
				return false
			}
		}
	}
	return true
}

// A gramTable holds literals by one gram of each, which is width bytes long.
type gramTable struct {
	width    int // 1 to 4
	stride   int // a gram is looked up at every stride-th byte of the value
	mask     uint32
	nonASCII bool // all literals have a byte of 0x80 or more
	limit    int  // bytes of the value that are searched
	bitmap   []uint64
	bitShift uint
	slots    []gramSlot
	shift    uint
	entries  []entry
}

type gramSlot struct {
	key      uint32
	from, to int32
}

const gramPrime = 0x9E3779B1

func (t *gramTable) find(b []byte, visit finder) bool {
	if t.limit < len(b) {
		return t.findIn(b, t.limit, visit)
	}
	return t.findIn(b, len(b), visit)
}

// findIn looks at the grams in b[:end], every literal whole in b.
func (t *gramTable) findIn(b []byte, end int, visit finder) bool {
	mask, shift, bitmap, stride := t.mask, t.bitShift, t.bitmap, t.stride
	i := 0
	for last := min(len(b)-4, end-t.width); i <= last; i += stride {
		gram := binary.LittleEndian.Uint32(b[i:]) & mask
		h := gram * gramPrime
		bit := h >> (shift & 31)
		if bitmap[bit>>6]&(1<<(bit&63)) != 0 && !t.look(b, i, gram, h, visit) {
			return false
		}
	}
	for ; i+t.width <= end; i += stride { // fewer than four bytes are left
		var gram uint32
		for k := range t.width {
			gram |= uint32(b[i+k]) << (8 * k)
		}
		if !t.look(b, i, gram, gram*gramPrime, visit) {
			return false
		}
	}
	return true
}

// look compares the literals of a gram that stands at b[i:].
func (t *gramTable) look(b []byte, i int, gram, h uint32, visit finder) bool {
	mask := uint32(len(t.slots) - 1)
	for k := h >> t.shift; ; k = (k + 1) & mask {
		s := &t.slots[k]
		if s.from == s.to {
			return true
		}
		if s.key != gram {
			continue
		}
		entries := t.entries[s.from:s.to]
		for j := range entries {
			e := &entries[j]
			p := i - int(e.at)
			if p < 0 || p > 0 && e.how == prefix || p+len(e.text) > len(b) || string(b[p:p+len(e.text)]) != e.text {
				continue
			}
			if !visit.found(e) {
				return false
			}
		}
		return true
	}
}

// find looks up a folded value.
func (fi *fieldIndex) find(b []byte, ascii bool, visit finder) bool {
	if len(b) == 0 {
		if len(fi.empty) > 0 {
			if visit.m == nil {
				return false
			}
			visit.m.mark(visit.g, fi.empty)
		}
		return true
	}
	if fi.tails != nil && !fi.tails.find(b, visit) {
		return false
	}
	for _, t := range fi.grams {
		if ascii && t.nonASCII {
			continue
		}
		if !t.find(b, visit) {
			return false
		}
	}
	return true
}

// holds reports whether any literal stands in b.
func (fi *fieldIndex) holds(b []byte, ascii bool) bool {
	return !fi.find(b, ascii, finder{fi: fi})
}

// tableSize returns a power of two and the shift that reduces a hash of width
// bits to an index below it.
func tableSize(least, width int) (size int, shift uint) {
	log := max(bits.Len(uint(least-1)), 3)
	return 1 << log, uint(width - log)
}
