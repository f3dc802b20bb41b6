package literalindex

import (
	"encoding/binary"
	"math"

	"github.com/picket-edr/picket/sigma/internal/word"
)

// An ngramTable is a hash table of the literals that may start anywhere in a
// value, or at its start, by one of their n-grams of width bytes.
type ngramTable struct {
	width     int // 1 to 4
	stride    int // n-grams of the value are probed at every stride-th byte
	minLength int // of the literals
	mask      uint32
	nonASCII  bool // all literals have a byte of 0x80 or more
	limit     int  // bytes of the value that are probed
	bitmap    []uint64
	bitShift  uint
	slots     []ngramSlot // a power of two, open addressing
	shift     uint
	entries   []literalEntry
}

type ngramSlot struct {
	key      uint32
	from, to int32 // into entries; equal in a free slot
}

// maxStrideBytes is how many bytes probes may be apart. Each literal is filed under
// stride consecutive n-grams, so that one of them is probed.
const maxStrideBytes = 4

// lowerCaseBits is or-ed to every n-gram. It turns upper case into lower case,
// and some other bytes into others, so that the bitmap can be probed with a
// value that is not folded.
const lowerCaseBits = 0x20202020

// ngramAt returns the key of the n-gram of text at i.
func ngramAt(text string, i, width int) uint32 {
	var g uint32
	for k := range width {
		g |= uint32(text[i+k]|0x20) << (8 * k)
	}
	return g
}

func newNgramTable(freq *Frequencies, literals []literalEntry, width int, nonASCII, anchored bool) *ngramTable {
	stride, minLength := maxStrideBytes, math.MaxInt
	for _, e := range literals {
		stride = min(stride, len(e.text)-width+1)
		minLength = min(minLength, len(e.text))
	}
	var es []hashedEntry[uint32]
	for _, e := range literals {
		at := freq.rarestNgramRun(e.text, width, stride)
		for i := at; i < at+stride; i++ {
			e.offset = int32(i)
			es = append(es, hashedEntry[uint32]{ngramAt(e.text, i, width), e})
		}
	}
	sortByHash(es)
	size, shift := word.TableSize(2*len(es), 32)
	bitSize, bitShift := word.TableSize(min(64*len(es)+64, 1<<17), 32)
	t := &ngramTable{
		width: width, stride: stride, minLength: minLength, mask: uint32(1<<(8*width) - 1), nonASCII: nonASCII, limit: math.MaxInt,
		bitmap: make([]uint64, bitSize/64), bitShift: bitShift,
		slots: make([]ngramSlot, size), shift: shift, entries: make([]literalEntry, 0, len(es)),
	}
	if anchored {
		t.limit = 0
	}
	for i := 0; i < len(es); {
		key, from := es[i].key, int32(len(t.entries))
		for ; i < len(es) && es[i].key == key; i++ {
			t.entries = append(t.entries, es[i].entry)
			if anchored {
				t.limit = max(t.limit, int(es[i].entry.offset)+width)
			}
		}
		h := key * word.HashMultiplier32
		bit := h >> bitShift
		t.bitmap[bit>>6] |= 1 << (bit & 63)
		at := h >> shift
		for t.slots[at].from != t.slots[at].to {
			at = (at + 1) & uint32(size-1)
		}
		t.slots[at] = ngramSlot{key, from, int32(len(t.entries))}
	}
	return t
}

// search visits the literals in b, until the visitor ends it.
func (t *ngramTable) search(b []byte, v visitor) (keepGoing bool) {
	if len(b) < t.minLength {
		return true
	}
	if t.limit < len(b) {
		return t.searchUntil(b, t.limit, v)
	}
	return t.searchUntil(b, len(b), v)
}

// searchUntil probes the n-grams in b[:end]; a literal may extend beyond end.
func (t *ngramTable) searchUntil(b []byte, end int, v visitor) (keepGoing bool) {
	i := 0
	for last := min(len(b)-4, end-t.width); i <= last; i += t.stride {
		var found bool
		if i, found = t.nextInBitmap(b, i, last); !found {
			break
		}
		if !t.probe(b, i, (binary.LittleEndian.Uint32(b[i:])|lowerCaseBits)&t.mask, v) {
			return false
		}
	}
	for ; i+t.width <= end; i += t.stride { // fewer than four bytes are left
		var gram uint32
		for k := range t.width {
			gram |= uint32(b[i+k]|0x20) << (8 * k)
		}
		if !t.probe(b, i, gram, v) {
			return false
		}
	}
	return true
}

// nextInBitmap returns the first index from i to last, in strides, whose n-gram
// is in the bitmap, or the first one after last. It is the hottest loop of
// matching: apart from the probes, so that it runs in registers.
//
//go:noinline
func (t *ngramTable) nextInBitmap(b []byte, i, last int) (next int, found bool) {
	mask, shift, bitmap, stride := t.mask, t.bitShift&31, t.bitmap, t.stride
	for ; i <= last; i += stride {
		bit := (binary.LittleEndian.Uint32(b[i:]) | lowerCaseBits) & mask * word.HashMultiplier32 >> shift
		if bitmap[bit>>6]&(1<<(bit&63)) != 0 {
			return i, true
		}
	}
	return i, false
}

// mayFind reports whether search could find anything in s folded. It is false
// only for ASCII.
func (t *ngramTable) mayFind(s string) bool {
	mask, shift, bitmap, stride := t.mask, t.bitShift, t.bitmap, t.stride
	seen := uint32(0)
	for i := 0; ; i += stride {
		over := i+4 > len(s)
		if over {
			i = len(s) - 4 // so that seen covers every byte
		}
		w := word.Load32(s[i : i+4])
		seen |= w
		bit := ((w | lowerCaseBits) & mask * word.HashMultiplier32) >> (shift & 31)
		if bitmap[bit>>6]&(1<<(bit&63)) != 0 {
			return true
		}
		if over {
			return seen&0x80808080 != 0
		}
	}
}

// probe visits the literals that have an n-gram and that b contains with the
// n-gram at i.
func (t *ngramTable) probe(b []byte, i int, gram uint32, v visitor) (keepGoing bool) {
	mask := uint32(len(t.slots) - 1)
	for k := gram * word.HashMultiplier32 >> t.shift; ; k = (k + 1) & mask {
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
			p := i - int(e.offset)
			if p < 0 || p > 0 && e.placement == Prefix || p+len(e.text) > len(b) || string(b[p:p+len(e.text)]) != e.text {
				continue
			}
			if !v.visit(e) {
				return false
			}
		}
		return true
	}
}
