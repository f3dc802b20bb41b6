// Package literalindex finds which of many literals a value contains, and
// thereby which rules an event may match, without looking at most of the
// literals.
//
// Literals that end the value (Suffix, Equals) are found by the last eight
// bytes of the value, in one lookup. Each of the others (Prefix, Contains) is
// filed under its rarest four bytes. A bitmap of these n-grams, small enough for
// the L1 cache, is probed along the value. In both cases the whole literal is
// then compared, so there are no false positives. Literals that are shorter
// than that have tables of their own, or, if there are few, are searched for
// one by one.
//
// This takes a fraction of the memory of an automaton over all literals, of
// which some rules list thousands, and hardly ever misses the cache.
package literalindex

import "github.com/picket-edr/picket/sigma/internal/decimal"

// An Index finds which of its literals a value contains. It is immutable.
type Index struct {
	suffixes  *suffixTable
	ngrams    []*ngramTable
	direct    []directLiteral // literals that are cheaper to search for than to keep in a table
	prescreen *ngramTable     // if not nil, the only table that ASCII values need
	minLength int             // of the literals, if there is a screen
	postings  []Posting
	numbers   map[uint64][]numberEntry // by hash
	empty     []Posting                // of the value ""
	always    []Posting                // of any value, null included
}

// A Posting says what it means for an atom that a value contains a literal.
type Posting struct {
	Atom  int32 // index into the atoms given to Candidates.BeginEvent
	Exact bool  // the atom holds; otherwise it may hold
}

// A literalEntry is a literal of the index with its postings, postings[from:to].
type literalEntry struct {
	text      string // folded
	placement Placement
	offset    int32 // in an ngramTable: of the n-gram within text
	from, to  int32
}

type directLiteral struct {
	needle needle
	entry  literalEntry
}

type numberEntry struct {
	number   decimal.Decimal
	postings []Posting
}

// A visitor is called with the literals that a search finds. It is a struct and
// not an interface so that calls are direct. With candidates, it adds the
// postings to them; without, it ends the search.
type visitor struct {
	candidates *Candidates
	index      *Index
}

// visit returns whether the search goes on.
func (v visitor) visit(e *literalEntry) (keepGoing bool) {
	if v.candidates == nil {
		return false
	}
	v.candidates.markFound(v.index.postings[e.from:e.to])
	return true
}

// PostingsForAnyValue returns the postings that any value has, null included.
func (ix *Index) PostingsForAnyValue() []Posting { return ix.always }

// HasNumbers reports whether NumberPostings can find anything.
func (ix *Index) HasNumbers() bool { return ix.numbers != nil }

// NumberPostings returns the postings of a number.
func (ix *Index) NumberPostings(d decimal.Decimal) []Posting {
	for _, e := range ix.numbers[d.Hash()] {
		if e.number.Cmp(d) == 0 {
			return e.postings
		}
	}
	return nil
}

// HasLiterals reports whether Find can find anything.
func (ix *Index) HasLiterals() bool {
	return ix.suffixes != nil || ix.ngrams != nil || ix.empty != nil || ix.direct != nil
}

// MayFind reports whether Find could find anything in s folded. It costs less
// than folding s.
func (ix *Index) MayFind(s string) bool {
	// Folding does not make values longer.
	return ix.prescreen == nil || len(s) >= ix.minLength && (len(s) < 4 || ix.prescreen.mayFind(s))
}

// Find adds the postings of the literals that a folded value contains to c.
func (ix *Index) Find(value []byte, ascii bool, candidates *Candidates) {
	ix.search(value, ascii, visitor{candidates, ix})
}

// ContainsAny reports whether a folded value contains any of the literals.
func (ix *Index) ContainsAny(value []byte, ascii bool) bool {
	return !ix.search(value, ascii, visitor{nil, ix})
}

// search visits the literals that the value contains, until the visitor ends
// it.
func (ix *Index) search(b []byte, ascii bool, v visitor) (keepGoing bool) {
	if len(b) == 0 {
		if len(ix.empty) > 0 {
			if v.candidates == nil {
				return false
			}
			v.candidates.markFound(ix.empty)
		}
		return true
	}
	if ix.suffixes != nil && !ix.suffixes.search(b, v) {
		return false
	}
	for i := range ix.direct {
		if d := &ix.direct[i]; d.needle.occursIn(b) && !v.visit(&d.entry) {
			return false
		}
	}
	for _, t := range ix.ngrams {
		if ascii && t.nonASCII {
			continue
		}
		if !t.search(b, v) {
			return false
		}
	}
	return true
}
