package literalindex

import (
	"encoding/binary"

	"github.com/picket-edr/picket/sigma/internal/word"
)

// maxSuffixBytes is how many bytes at the end of a value are hashed.
const maxSuffixBytes = 8

// A suffixTable is a hash table of the literals that end a value, by their last
// maxSuffixBytes bytes.
type suffixTable struct {
	slots   []suffixSlot // a power of two, open addressing
	shift   uint
	entries []literalEntry
	short   [maxSuffixBytes]bool // there is a Suffix of that length
	equal   [maxSuffixBytes]bool // there is an Equals of that length
	long    bool                 // there is a literal of maxSuffixBytes or more
}

type suffixSlot struct {
	key      uint64
	from, to int32 // into entries; equal in a free slot
}

// newSuffixTable returns a table of entries that have their suffixKey as key.
func newSuffixTable(es []hashedEntry[uint64]) *suffixTable {
	sortByHash(es)
	size, shift := word.TableSize(2*len(es), 64)
	t := &suffixTable{slots: make([]suffixSlot, size), shift: shift, entries: make([]literalEntry, 0, len(es))}
	for i := 0; i < len(es); {
		key, from := es[i].key, int32(len(t.entries))
		for ; i < len(es) && es[i].key == key; i++ {
			e := es[i].entry
			t.entries = append(t.entries, e)
			switch n := len(e.text); {
			case n >= maxSuffixBytes:
				t.long = true
			case e.placement == Suffix:
				t.short[n] = true
			default:
				t.equal[n] = true
			}
		}
		at := (key * word.HashMultiplier64) >> shift
		for t.slots[at].from != t.slots[at].to {
			at = (at + 1) & uint64(size-1)
		}
		t.slots[at] = suffixSlot{key, from, int32(len(t.entries))}
	}
	return t
}

// suffixKey returns the key of the last length bytes of b; length is at most maxSuffixBytes.
func suffixKey(b []byte, length int) uint64 {
	if length == maxSuffixBytes {
		return binary.LittleEndian.Uint64(b[len(b)-maxSuffixBytes:])
	}
	key := uint64(length) << 56
	for i, c := range b[len(b)-length:] {
		key |= uint64(c) << (8 * i)
	}
	return key
}

func (t *suffixTable) lookup(key uint64) []literalEntry {
	mask := uint64(len(t.slots) - 1)
	for i := (key * word.HashMultiplier64) >> t.shift; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.from == s.to {
			return nil
		}
		if s.key == key {
			return t.entries[s.from:s.to]
		}
	}
}

// search visits the literals that end b, until the visitor ends it.
func (t *suffixTable) search(b []byte, v visitor) (keepGoing bool) {
	if len(b) >= maxSuffixBytes && t.long {
		if !v.visitSuffixes(b, t.lookup(suffixKey(b, maxSuffixBytes))) {
			return false
		}
	}
	for n := 1; n < maxSuffixBytes && n <= len(b); n++ {
		if t.short[n] || t.equal[n] && n == len(b) {
			if !v.visitSuffixes(b, t.lookup(suffixKey(b, n))) {
				return false
			}
		}
	}
	return true
}

// visitSuffixes visits those of the entries that end b.
func (v visitor) visitSuffixes(b []byte, entries []literalEntry) (keepGoing bool) {
	for i := range entries {
		e := &entries[i]
		if len(e.text) <= len(b) && (e.placement == Suffix || len(e.text) == len(b)) && string(b[len(b)-len(e.text):]) == e.text {
			if !v.visit(e) {
				return false
			}
		}
	}
	return true
}
