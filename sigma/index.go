package sigma

import "math/bits"

// A fieldIndex finds which of many literals stand in a value, without looking
// at most of them. It is immutable.
//
// Literals that end the value (suffix, equals) are found by the last eight
// bytes of the value, in one look-up. Of the others (prefix, contains) each is
// filed under its rarest four bytes, and a bitmap of those, small enough for
// the nearest cache, is asked about the value from end to end. Both then
// compare the whole literal, so a find is never wrong. Literals shorter than
// that have tables of their own, and where there are few they are searched for
// one by one.
//
// This takes a fraction of the memory of an automaton over all literals, the
// thousands of hashes and emoji that some rules list included, and hardly
// leaves the cache.
type fieldIndex struct {
	tails  *tailTable
	grams  []*gramTable
	direct []direct   // literals that no table is worth its while for
	screen *gramTable // if not nil, the only table that ASCII values need
	least  int        // length of the shortest literal, where there is a screen
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

type direct struct {
	needle needle
	entry  entry
}

type numberEntry struct {
	number decimal
	hits   []hit
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

// mayFind reports whether find could find anything in s folded. It costs less
// than folding s.
func (fi *fieldIndex) mayFind(s string) bool {
	// Folding shortens values, if anything.
	return fi.screen == nil || len(s) >= fi.least && (len(s) < 4 || fi.screen.mayFind(s))
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
	for i := range fi.direct {
		if d := &fi.direct[i]; d.needle.in(b) && !visit.found(&d.entry) {
			return false
		}
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
