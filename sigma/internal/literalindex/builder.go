package literalindex

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/casefold"
	"github.com/picket-edr/picket/sigma/internal/decimal"
)

// A Builder collects the literals and numbers of an Index. Literals must be
// folded.
type Builder struct {
	frequencies *Frequencies
	literals    []builderLiteral
	numbers     []builderNumber
	always      []Posting
}

type builderLiteral struct {
	Literal
	posting Posting
}

type builderNumber struct {
	number  decimal.Decimal
	posting Posting
}

// NewBuilder returns an empty Builder. The frequencies choose the n-grams that
// literals are filed under.
func NewBuilder(f *Frequencies) *Builder { return &Builder{frequencies: f} }

// AddLiteral adds a literal.
func (b *Builder) AddLiteral(l Literal, p Posting) {
	b.literals = append(b.literals, builderLiteral{l, p})
}

// AddNumber adds a number, which values of the same number have.
func (b *Builder) AddNumber(d decimal.Decimal, p Posting) {
	b.numbers = append(b.numbers, builderNumber{d, p})
}

// AddForAnyValue adds a posting that any value has, null included.
func (b *Builder) AddForAnyValue(p Posting) { b.always = append(b.always, p) }

// A hashedEntry is an entry with the key that it has in a table.
type hashedEntry[K uint32 | uint64] struct {
	key   K
	entry literalEntry
}

func sortByHash[K uint32 | uint64](es []hashedEntry[K]) {
	slices.SortStableFunc(es, func(a, b hashedEntry[K]) int { return cmp.Compare(a.key, b.key) })
}

// maxDirectLiterals is the number of short literals of one length up to which searching
// for each is cheaper than a table.
const maxDirectLiterals = 8

// Build makes the index.
func (b *Builder) Build() *Index {
	ix := &Index{always: b.always}
	for _, n := range b.numbers {
		ix.addNumber(n)
	}
	slices.SortStableFunc(b.literals, func(x, y builderLiteral) int {
		return cmp.Or(cmp.Compare(x.Placement, y.Placement), strings.Compare(string(x.Text), string(y.Text)))
	})
	var suffixes []hashedEntry[uint64]
	var ngrams [2][2][5][]literalEntry // by nonASCII, anchored and width
	for i := 0; i < len(b.literals); {
		first := b.literals[i]
		e := literalEntry{text: string(first.Text), placement: first.Placement, from: int32(len(ix.postings))}
		for ; i < len(b.literals) && b.literals[i].Placement == e.placement && string(b.literals[i].Text) == e.text; i++ {
			ix.postings = append(ix.postings, b.literals[i].posting)
		}
		e.to = int32(len(ix.postings))
		switch {
		case e.text == "" && e.placement == Equals:
			ix.empty = append(ix.empty, ix.postings[e.from:e.to]...)
		case e.text == "":
			ix.always = append(ix.always, ix.postings[e.from:e.to]...)
		case e.placement == Equals || e.placement == Suffix:
			n := min(len(e.text), maxSuffixBytes)
			suffixes = append(suffixes, hashedEntry[uint64]{suffixKey([]byte(e.text), n), e})
		default:
			nonASCII, anchored := 0, 0
			if !casefold.IsASCII(e.text) {
				nonASCII = 1
			}
			if e.placement == Prefix {
				anchored = 1
			}
			es := &ngrams[nonASCII][anchored][min(len(e.text), 4)]
			*es = append(*es, e)
		}
	}
	if len(suffixes) > 0 {
		ix.suffixes = newSuffixTable(suffixes)
	}
	for nonASCII := range ngrams {
		for anchored := range ngrams[nonASCII] {
			for width, es := range ngrams[nonASCII][anchored] {
				if anchored == 0 && len(es) <= maxDirectLiterals && width < 4 {
					for _, e := range es {
						ix.direct = append(ix.direct, directLiteral{newRarestByteNeedle([]byte(e.text)), e})
					}
				} else if len(es) > 0 {
					ix.ngrams = append(ix.ngrams, newNgramTable(b.frequencies, es, width, nonASCII == 1, anchored == 1))
				}
			}
		}
	}
	ix.choosePrescreen()
	return ix
}

func (ix *Index) addNumber(n builderNumber) {
	if ix.numbers == nil {
		ix.numbers = make(map[uint64][]numberEntry)
	}
	h := n.number.Hash()
	for i, e := range ix.numbers[h] {
		if e.number.Cmp(n.number) == 0 {
			ix.numbers[h][i].postings = append(e.postings, n.posting)
			return
		}
	}
	ix.numbers[h] = append(ix.numbers[h], numberEntry{n.number, []Posting{n.posting}})
}

// choosePrescreen sets the screen if one table holds all literals that ASCII values
// may contain.
func (ix *Index) choosePrescreen() {
	if ix.suffixes != nil || ix.empty != nil || ix.direct != nil {
		return
	}
	ix.minLength = math.MaxInt
	for _, t := range ix.ngrams {
		ix.minLength = min(ix.minLength, t.minLength)
		switch {
		case t.nonASCII: // mayFind is true of values with such bytes
		case ix.prescreen != nil || t.width != 4 || t.limit < math.MaxInt:
			ix.prescreen = nil
			return
		default:
			ix.prescreen = t
		}
	}
}
