package block

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/picket-edr/picket/sigma/casefold"
)

// A text filter says which trigrams (three bytes of folded text) the events of a
// frame may have: a bit for each, at a place given by its hash. A filter has at
// least three bits for each distinct trigram. A block has one for each frame:
//
//	flags, number of bytes (4), bytes
//
// Only trigrams inside one token of the JSON (a name, a value) are in a filter,
// so each distinct value of a field is looked at once in a frame.
type textFilter struct {
	bits           []byte
	byteSearchable bool // not filterNotByteSearchable
}

const (
	// filterNotByteSearchable: the JSON of some event of the frame is not byte-searchable.
	filterNotByteSearchable = 1 << 0

	filterHeaderBytes = 5
	bitsPerTrigram    = 3
)

// A trigramSet collects the trigrams of a frame.
type trigramSet struct {
	present []uint64 // a bit for each possible trigram
	list    []uint32
	folded  []byte
}

func newTrigramSet() *trigramSet { return &trigramSet{present: make([]uint64, 1<<24/64)} }

func (t *trigramSet) add(s string) {
	if len(s) < 3 {
		return
	}
	var k uint32
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			t.folded, _ = casefold.Append(t.folded[:0], s)
			t.addFolded(t.folded)
			return
		}
		if c-'A' < 26 {
			c |= 0x20
		}
		k = (k<<8 | uint32(c)) & 0xffffff
		if i < 2 {
			continue
		}
		if w, bit := &t.present[k>>6], uint64(1)<<(k&63); *w&bit == 0 {
			*w |= bit
			t.list = append(t.list, k)
		}
	}
}

func (t *trigramSet) addFolded(s []byte) {
	var k uint32
	for i, c := range s {
		k = (k<<8 | uint32(c)) & 0xffffff
		if i < 2 {
			continue
		}
		if w, bit := &t.present[k>>6], uint64(1)<<(k&63); *w&bit == 0 {
			*w |= bit
			t.list = append(t.list, k)
		}
	}
}

// appendFilter appends the filter to dst and empties the set.
func (t *trigramSet) appendFilter(dst []byte, flags byte) []byte {
	size := len(t.list)*bitsPerTrigram/8 + 1
	dst = append(dst, flags)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(size))
	at := len(dst)
	dst = append(dst, make([]byte, size)...)
	filter := dst[at:]
	for _, k := range t.list {
		i := trigramBit(k, size)
		filter[i/8] |= 1 << (i % 8)
		t.present[k>>6] = 0
	}
	t.list = t.list[:0]
	return dst
}

// trigramBit spreads trigrams over the bits of a filter.
func trigramBit(trigram uint32, filterBytes int) uint32 {
	return uint32(uint64(trigram*0x9e3779b1) * uint64(filterBytes*8) >> 32)
}

// splitTextFilter returns the first filter of b and the bytes after it.
func splitTextFilter(b []byte) (textFilter, []byte, error) {
	if len(b) < filterHeaderBytes {
		return textFilter{}, nil, ErrCorrupt
	}
	flags, size := b[0], int64(binary.LittleEndian.Uint32(b[1:]))
	b = b[filterHeaderBytes:]
	if size == 0 || size > int64(len(b)) {
		return textFilter{}, nil, ErrCorrupt
	}
	return textFilter{bits: b[:size], byteSearchable: flags&filterNotByteSearchable == 0}, b[size:], nil
}

// mayContain reports whether the frame may have all the trigrams.
func (f textFilter) mayContain(trigrams []uint32) bool {
	for _, k := range trigrams {
		if i := trigramBit(k, len(f.bits)); f.bits[i/8]&(1<<(i%8)) == 0 {
			return false
		}
	}
	return true
}

// jsonPunctuation separates the tokens of JSON.
const jsonPunctuation = `":,{}[]`

// requiredTrigrams returns the trigrams that any text containing the folded
// needle has inside its tokens. The needle may extend over several tokens: two
// tokens are always separated by punctuation, and white space is only beside
// punctuation or at the ends of the needle.
func requiredTrigrams(needle []byte) []uint32 {
	var out []uint32
	for _, token := range bytes.FieldsFunc(needle, func(r rune) bool { return bytes.ContainsRune([]byte(jsonPunctuation), r) }) {
		token = bytes.Trim(token, " \t\r\n")
		for i := 2; i < len(token); i++ {
			out = append(out, uint32(token[i-2])<<16|uint32(token[i-1])<<8|uint32(token[i]))
		}
	}
	return out
}
