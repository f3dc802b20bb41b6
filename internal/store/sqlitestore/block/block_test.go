package block

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/casefold"
)

func TestIDs(t *testing.T) {
	for _, ids := range [][]string{
		nil,
		{"00112233-4455-6677-8899-aabbccddeeff", "ffffffff-4455-6677-8899-aabbccddeeff"},
		{"00112233-4455-6677-8899-aabbccddeeff", "FFFFFFFF-4455-6677-8899-aabbccddeeff"},
		{"0011", "aabb", "ffee"},
		{"0011", "aab"},
		{"", "", "x"},
		{"", ""},
	} {
		l, err := DecodeIDs(encodeIDs(ids))
		if err != nil {
			t.Errorf("%q: %v", ids, err)
			continue
		}
		var got []string
		for i := range l.Len() {
			got = append(got, l.At(i))
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%q are read as %q", ids, got)
		}
	}
}

func TestIDFilter(t *testing.T) {
	var ids []string
	for i := range 2000 {
		ids = append(ids, fmt.Sprint("id", i))
	}
	f := encodeIDFilter(ids)
	wrong := 0
	for i := range 20000 {
		has := idFilterMayHave(f, idHash(fmt.Sprint("id", i)))
		if i < 2000 && !has {
			t.Fatalf("id %d does not pass the filter", i)
		}
		if i >= 2000 && has {
			wrong++
		}
	}
	if wrong > 18000*2/100 {
		t.Errorf("%d of 18000 absent ids pass the filter", wrong)
	}
}

func TestColumn(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 80 {
		n := 1 + rng.IntN(400)
		distinct := 1 + rng.IntN(n*2)
		b := newColumnBuilder("x", n)
		want := make([][]string, n)
		for row := range n {
			for range rng.IntN(1 + rng.IntN(4)) {
				v := fmt.Sprint("value ", rng.IntN(distinct))
				b.indexOrAdd(row, v)
				if !slices.Contains(want[row], v) {
					want[row] = append(want[row], v)
				}
			}
		}
		col, err := decodeColumn(b.build(n).encode(nil), n)
		if err != nil {
			t.Fatal(err)
		}
		for v := range distinct {
			text := fmt.Sprint("value ", v)
			got := newBitset(n)
			col.match(func(s string) bool { return s == text }, nil, got)
			for row := range n {
				if got.has(row) != slices.Contains(want[row], text) {
					t.Fatalf("row %d has %q: %v", row, text, got.has(row))
				}
			}
		}
	}
}

func TestLowerASCII(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for from := range 9 {
		got := appendLowerASCII(nil, all[from:])
		for i, c := range all[from:] {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			if got[i] != c {
				t.Fatalf("%q becomes %q", all[from+i], got[i])
			}
		}
	}
}

// FuzzDecode gives damaged bytes to every reader of the format. A reader may
// fail, but must not panic or allocate without bounds.
func FuzzDecode(f *testing.F) {
	for _, b := range []Encoded{exampleFresh(), exampleIndexed(f)} {
		for _, p := range append(b.Parts, Part{Data: b.Directory}) {
			if plain, err := decompressPacked(nil, p.Data); err == nil {
				f.Add(plain, uint16(b.EventCount))
			}
			f.Add(p.Data, uint16(b.EventCount))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, rows uint16) {
		n := int(rows) % 5000
		testenv.CheckAllocated(t, 4<<20+512*n+256*len(data), func() { decodeAll(data, n) })
	})
}

// decodeAll gives bytes to every reader of the format, as those of n events.
func decodeAll(data []byte, n int) {
	packed := append([]byte{packedPlain}, data...)
	if c, err := decodeColumn(data, n); err == nil {
		c.match(func(string) bool { return true }, nil, newBitset(n))
	}
	if l, err := DecodeIDs(data); err == nil && l.Len() == n {
		for i := range n {
			l.At(i)
		}
	}
	for _, flags := range []byte{0, flagSenders} {
		if m, err := decodeMetadata(packed, n, flags); err == nil {
			for i := range n {
				m.event(i, "", nil)
				m.seq(1, i)
			}
		}
	}
	if l, err := decodeFieldLayouts(packed, n); err == nil {
		var fields []sigma.Field
		for i := range n {
			fields = l.appendFields(fields[:0], i, nil)
		}
	}
	if d, err := decodeDirectory(packed, n); err == nil {
		d.lookUp("x")
	}
	var fr decodedFrame
	if err := fr.decode(packed, n); err == nil {
		for i := range n {
			fr.raw(i)
		}
	}
	for rest := data; len(rest) > 0; {
		var filter textFilter
		var err error
		if filter, rest, err = splitTextFilter(rest); err != nil {
			break
		}
		filter.mayContain([]uint32{1, 1 << 23, 1<<24 - 1})
	}
}

// FuzzSearch damages one part of a block, and searches and reads the block. That
// may fail, but must not panic.
func FuzzSearch(f *testing.F) {
	fresh, indexed := exampleFresh(), exampleIndexed(f)
	for number := range PartNumberLimit {
		for _, b := range []Encoded{fresh, indexed} {
			if part, _ := memoryParts(b.Parts).ReadPart(nil, number); part != nil {
				f.Add(b.Indexed, uint16(number), part)
			}
		}
	}
	f.Add(true, uint16(PartNumberLimit), indexed.Directory)
	where, err := store.ParseQuery(`b=c or not (a=1* and "d") or x~e or event_id=a`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, inIndexed bool, number uint16, data []byte) {
		b := fresh
		if inIndexed {
			b = indexed
		}
		b.Parts = slices.Clone(b.Parts)
		for i := range b.Parts {
			if b.Parts[i].Number == int(number) {
				b.Parts[i].Data = data
			}
		}
		if number == PartNumberLimit {
			b.Directory = data
		}
		open := func() *Block { return Open(b.Header, 1, b.Directory, memoryParts(b.Parts)) }
		s := NewSearcher(NewFrameCache())
		for _, x := range []store.Expr{nil, where} {
			s.Search(t.Context(), open(), NewQuery(x, math.MinInt64, math.MaxInt64, math.MaxInt64), func(FoundEvent) bool { return true })
		}
		if rows, err := open().FindID("a"); err == nil && len(rows) > 0 {
			s.Event(open(), rows[0])
			s.Raw(open(), rows[0])
			open().EventWithoutContent(rows[0], "a")
		}
		open().EachIdentity(func(int64, Identity) {})
		open().FindSeq(2)
		if in, err := ReadAll([]*Block{open()}); err == nil {
			NewEncoder().EncodeIndexed(in)
		}
	})
}

// FuzzTrigrams checks that a filter never rules out text that is there, whatever
// JSON the text is in.
func FuzzTrigrams(f *testing.F) {
	f.Add(`{"a b":"C:\\x\u00e9","n":[1.5,true,null,{}]}`, uint8(3), uint8(9))
	f.Fuzz(func(t *testing.T, raw string, from, size uint8) {
		ev := picket.Event{ID: "x", Raw: []byte(raw)}
		b := NewEncoder()
		b.decodeLeaves(ev.Raw)
		b.startBlock(1)
		in := MergeInput{events: []picket.Event{ev}, layouts: []*fieldLayouts{{layoutOf: []int{0}}}, layoutRows: []int{0}}
		b.addEvent(&in, 0, 1, &layoutBuilder{})
		filter, _, err := splitTextFilter(b.trigrams.appendFilter(nil, 0))
		if err != nil {
			t.Fatal(err)
		}
		text := []byte(casefold.String(string(store.AppendEventText(nil, ev.Raw))))
		lo := min(int(from), len(text))
		needle := text[lo:min(len(text), lo+int(size))]
		if !filter.mayContain(requiredTrigrams(needle)) {
			t.Errorf("%q is in %q and ruled out", needle, raw)
		}
	})
}

// memoryParts are the parts of a block in memory.
type memoryParts []Part

func (m memoryParts) ReadPart(buf []byte, number int) ([]byte, error) {
	for _, p := range m {
		if p.Number == number {
			return append(buf[:0], p.Data...), nil
		}
	}
	return nil, nil
}

func exampleFresh() Encoded {
	at := time.UnixMicro(1).UTC()
	str := func(name, v string) sigma.Field {
		return sigma.Field{Name: name, Value: sigma.Value{Kind: sigma.String, Text: v}}
	}
	evs := []picket.Event{
		{ID: "a", AgentID: "x", Raw: []byte(`{"a":[1,2],"b":"c"}`), Time: at, Received: at, Fields: []sigma.Field{str("B", "c"), str("D", "derived")}},
		{ID: "b", Raw: []byte(`{"a":3,"e":{}}`), Time: at, Fields: []sigma.Field{{Name: "a", Value: sigma.Value{Kind: sigma.Number, Text: "3"}}}},
	}
	return NewEncoder().EncodeFresh(evs, []int64{0, 5})
}

func exampleIndexed(tb testing.TB) Encoded {
	b := exampleFresh()
	in, err := ReadAll([]*Block{Open(b.Header, 1, b.Directory, memoryParts(b.Parts))})
	if err != nil {
		tb.Fatal(err)
	}
	return NewEncoder().EncodeIndexed(in)
}
