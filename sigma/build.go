package sigma

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// An indexBuilder collects the literals of a fieldIndex.
type indexBuilder struct {
	freq    *frequencies
	entries []built
	numbers []builtNumber
	always  []hit
}

type built struct {
	literalTest
	hit hit
}

type builtNumber struct {
	number decimal
	hit    hit
}

func (ib *indexBuilder) add(l literalTest, h hit) { ib.entries = append(ib.entries, built{l, h}) }

// build makes the index.
func (ib *indexBuilder) build() *fieldIndex {
	fi := &fieldIndex{always: ib.always}
	if len(ib.numbers) > 0 {
		fi.number = make(map[uint64][]numberEntry)
		for _, n := range ib.numbers {
			fi.addNumber(n)
		}
	}
	slices.SortStableFunc(ib.entries, func(a, b built) int {
		return cmp.Or(cmp.Compare(a.how, b.how), strings.Compare(string(a.text), string(b.text)))
	})
	var tails []keyed[uint64]
	var grams [2][2][5][]entry // by ASCII, how and width
	for i := 0; i < len(ib.entries); {
		first := ib.entries[i]
		e := entry{text: string(first.text), how: first.how, from: int32(len(fi.hits))}
		for ; i < len(ib.entries) && ib.entries[i].how == e.how && string(ib.entries[i].text) == e.text; i++ {
			fi.hits = append(fi.hits, ib.entries[i].hit)
		}
		e.to = int32(len(fi.hits))
		switch {
		case e.text == "" && e.how == equals:
			fi.empty = append(fi.empty, fi.hits[e.from:e.to]...)
		case e.text == "":
			fi.always = append(fi.always, fi.hits[e.from:e.to]...)
		case e.how == equals || e.how == suffix:
			n := min(len(e.text), tailBytes)
			tails = append(tails, keyed[uint64]{tailKey([]byte(e.text), n), e})
		default:
			nonASCII, anchored := 0, 0
			if !isASCII(e.text) {
				nonASCII = 1
			}
			if e.how == prefix {
				anchored = 1
			}
			g := &grams[nonASCII][anchored][min(len(e.text), 4)]
			*g = append(*g, e)
		}
	}
	if len(tails) > 0 {
		fi.tails = newTailTable(tails)
	}
	for nonASCII := range grams {
		for anchored := range grams[nonASCII] {
			for width, es := range grams[nonASCII][anchored] {
				if anchored == 0 && len(es) <= fewLiterals && width < 4 {
					for _, e := range es {
						fi.direct = append(fi.direct, direct{newNeedle([]byte(e.text)), e})
					}
				} else if len(es) > 0 {
					fi.grams = append(fi.grams, newGramTable(ib.freq, es, width, nonASCII == 1, anchored == 1))
				}
			}
		}
	}
	fi.addScreen()
	return fi
}

// addScreen finds out whether one table is all that ASCII values need.
func (fi *fieldIndex) addScreen() {
	if fi.tails != nil || fi.empty != nil || fi.direct != nil {
		return
	}
	fi.least = math.MaxInt
	for _, t := range fi.grams {
		fi.least = min(fi.least, t.least)
		switch {
		case t.nonASCII: // values with such bytes pass the screen
		case fi.screen != nil || t.width != 4 || t.limit < math.MaxInt:
			fi.screen = nil
			return
		default:
			fi.screen = t
		}
	}
}

func (fi *fieldIndex) addNumber(n builtNumber) {
	h := n.number.hash()
	for i, e := range fi.number[h] {
		if e.number.cmp(n.number) == 0 {
			fi.number[h][i].hits = append(e.hits, n.hit)
			return
		}
	}
	fi.number[h] = append(fi.number[h], numberEntry{n.number, []hit{n.hit}})
}

// fewLiterals of a width are cheaper to search for than to keep a table of.
const fewLiterals = 8

type keyed[K uint32 | uint64] struct {
	key   K
	entry entry
}

func sortKeyed[K uint32 | uint64](es []keyed[K]) {
	slices.SortStableFunc(es, func(a, b keyed[K]) int { return cmp.Compare(a.key, b.key) })
}

func newTailTable(es []keyed[uint64]) *tailTable {
	sortKeyed(es)
	size, shift := tableSize(2*len(es), 64)
	t := &tailTable{slots: make([]tailSlot, size), shift: shift, entries: make([]entry, 0, len(es))}
	for i := 0; i < len(es); {
		key, from := es[i].key, int32(len(t.entries))
		for ; i < len(es) && es[i].key == key; i++ {
			e := es[i].entry
			t.entries = append(t.entries, e)
			switch n := len(e.text); {
			case n >= tailBytes:
				t.long = true
			case e.how == suffix:
				t.short[n] = true
			default:
				t.equal[n] = true
			}
		}
		at := (key * hashPrime) >> shift
		for t.slots[at].from != t.slots[at].to {
			at = (at + 1) & uint64(size-1)
		}
		t.slots[at] = tailSlot{key, from, int32(len(t.entries))}
	}
	return t
}

// maxStride is how many bytes apart a value is looked at, at most. Each literal
// is filed under as many grams that follow each other, so that one of them is
// seen.
const maxStride = 4

func newGramTable(freq *frequencies, literals []entry, width int, nonASCII, anchored bool) *gramTable {
	stride, least := maxStride, math.MaxInt
	for _, e := range literals {
		stride = min(stride, len(e.text)-width+1)
		least = min(least, len(e.text))
	}
	var es []keyed[uint32]
	for _, e := range literals {
		at := freq.rarest(e.text, width, stride)
		for i := at; i < at+stride; i++ {
			e.at = int32(i)
			es = append(es, keyed[uint32]{gramAt(e.text, i, width), e})
		}
	}
	sortKeyed(es)
	size, shift := tableSize(2*len(es), 32)
	bitSize, bitShift := tableSize(min(64*len(es)+64, 1<<17), 32)
	t := &gramTable{
		width: width, stride: stride, least: least, mask: uint32(1<<(8*width) - 1), nonASCII: nonASCII, limit: math.MaxInt,
		bitmap: make([]uint64, bitSize/64), bitShift: bitShift,
		slots: make([]gramSlot, size), shift: shift, entries: make([]entry, 0, len(es)),
	}
	if anchored {
		t.limit = 0
	}
	for i := 0; i < len(es); {
		key, from := es[i].key, int32(len(t.entries))
		for ; i < len(es) && es[i].key == key; i++ {
			t.entries = append(t.entries, es[i].entry)
			if anchored {
				t.limit = max(t.limit, int(es[i].entry.at)+width)
			}
		}
		h := key * gramPrime
		bit := h >> bitShift
		t.bitmap[bit>>6] |= 1 << (bit & 63)
		at := h >> shift
		for t.slots[at].from != t.slots[at].to {
			at = (at + 1) & uint32(size-1)
		}
		t.slots[at] = gramSlot{key, from, int32(len(t.entries))}
	}
	return t
}

// frequencies estimate how often four bytes stand together in the values of
// events: as often as in the rules, which look for the unusual among the usual,
// and in a sample of what is always there.
type frequencies struct {
	counts [1 << 16]uint32
}

func newFrequencies() *frequencies {
	f := new(frequencies)
	f.add(usual, 64)
	return f
}

func (f *frequencies) add(text string, weight uint32) {
	for i := 0; i+4 <= len(text); i++ {
		f.counts[gramAt(text, i, 4)*gramPrime>>16] += weight
	}
}

// rarest returns where in text the run many grams of width bytes that follow
// each other are rarest together.
func (f *frequencies) rarest(text string, width, run int) (at int) {
	least := uint32(math.MaxUint32)
	for i := 0; i+width+run-1 <= len(text); i++ {
		var n uint32
		for k := i; k < i+run && width == 4; k++ {
			n += f.count(text, k)
		}
		if n < least {
			at, least = i, n
		}
	}
	return at
}

func (f *frequencies) count(text string, i int) uint32 {
	return f.counts[gramAt(text, i, 4)*gramPrime>>16]
}

// gramAt returns the gram of text at i, as gramTable looks for it.
func gramAt(text string, i, width int) uint32 {
	var g uint32
	for k := range width {
		g |= uint32(text[i+k]|0x20) << (8 * k)
	}
	return g
}
