package sigma

import "encoding/binary"

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
