package sqlitestore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
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
		l, err := decodeIDs(encodeIDs(ids))
		if err != nil {
			t.Errorf("%q: %v", ids, err)
			continue
		}
		var got []string
		for i := range l.n {
			got = append(got, l.at(i))
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%q come back as %q", ids, got)
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
		has := idFilterHas(f, idHash(fmt.Sprint("id", i)))
		if i < 2000 && !has {
			t.Fatalf("the filter lacks id %d", i)
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
	for range 200 {
		n := 1 + rng.IntN(600)
		distinct := 1 + rng.IntN(n*2)
		b := newColumnBuilder("x", n)
		want := make([][]string, n)
		for row := range n {
			for range rng.IntN(1 + rng.IntN(4)) {
				v := fmt.Sprint("value ", rng.IntN(distinct))
				b.add(row, v)
				if !slices.Contains(want[row], v) {
					want[row] = append(want[row], v)
				}
			}
		}
		col, err := decodeColumn(b.finish(n).encode(nil), n)
		if err != nil {
			t.Fatal(err)
		}
		for v := range distinct {
			text := fmt.Sprint("value ", v)
			got := newBitset(n)
			col.match(func(s string) bool { return s == text }, got)
			for row := range n {
				if got.has(row) != slices.Contains(want[row], text) {
					t.Fatalf("row %d has %q: %v", row, text, got.has(row))
				}
			}
		}
	}
}

func TestWindow(t *testing.T) {
	w := newWindow(1000)
	rng := rand.New(rand.NewPCG(1, 2))
	var all []uint64
	for i := range 10000 {
		h := rng.Uint64()
		all = append(all, h)
		w.add(h)
		for back := range 1000 {
			if back <= i && back%97 == 0 && !w.has(all[i-back]) {
				t.Fatalf("after %d, the one %d before is forgotten", i, back)
			}
		}
	}
	if w.has(all[0]) || w.has(all[7000]) {
		t.Error("the window keeps more than it is to")
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

// FuzzDecode feeds damaged parts to their readers: they may fail, not panic
// or ask for memory without bounds.
func FuzzDecode(f *testing.F) {
	at := time.UnixMicro(1).UTC()
	evs := []picket.Event{{ID: "a", AgentID: "x", Raw: []byte(`{"a":[1,2],"b":"c"}`), Time: at, Received: at}, {ID: "b", Raw: []byte(`{"a":3}`), Time: at}}
	fresh := newBuilder().fresh(evs, []int64{0, 5})
	seeds := fresh.parts
	seeds = append(seeds, part{data: fresh.dir})
	b := newColumnBuilder("x", 2)
	b.add(0, "v")
	b.add(0, "w")
	seeds = append(seeds, part{data: append([]byte{packedPlain}, b.finish(2).encode(nil)...)})
	for _, p := range seeds {
		if plain, err := unpack(nil, p.data); err == nil {
			f.Add(plain, uint16(2))
		}
		f.Add(p.data, uint16(2))
	}
	f.Fuzz(func(t *testing.T, data []byte, rows uint16) {
		n := int(rows) % 5000
		packed := append([]byte{packedPlain}, data...)
		if c, err := decodeColumn(data, n); err == nil {
			c.match(func(string) bool { return true }, newBitset(n))
		}
		if l, err := decodeIDs(data); err == nil && l.n == n {
			for i := range n {
				l.at(i)
			}
		}
		if m, err := decodeMeta(packed, n); err == nil {
			for i := range n {
				m.agent.text(i)
				m.seq(1, i)
			}
		}
		if r, err := decodeRecipes(packed, n); err == nil {
			for i := range n {
				r.fields(nil, i, nil)
			}
		}
		if d, err := decodeDir(packed, n); err == nil {
			d.find("x")
		}
		var fr frame
		if err := fr.decode(packed, n); err == nil {
			for i := range n {
				fr.raw(i)
			}
		}
		for rest := data; len(rest) > 0; {
			var tf textFilter
			var err error
			if tf, rest, err = nextTextFilter(rest); err != nil {
				break
			}
			tf.mayHave([]uint32{1, 1 << 23, 1<<24 - 1})
		}
	})
}

// FuzzTrigrams checks that a filter never rules out text that is there, whatever
// JSON the text is in.
func FuzzTrigrams(f *testing.F) {
	f.Add(`{"a b":"C:\\x\u00e9","n":[1.5,true,null,{}]}`, uint8(3), uint8(9))
	f.Fuzz(func(t *testing.T, raw string, from, size uint8) {
		ev := picket.Event{ID: "x", Raw: []byte(raw)}
		b := newBuilder()
		b.read(ev.Raw)
		b.reset(1)
		d := draft{evs: []picket.Event{ev}, recipes: []*recipes{{of: []int{0}}}, row: []int{0}}
		b.event(&d, 0, 1, &recipeBuilder{})
		filter, _, err := nextTextFilter(b.trigrams.encode(nil, 0))
		if err != nil {
			t.Fatal(err)
		}
		text := store.AppendFold(nil, store.AppendEventText(nil, ev.Raw))
		lo := min(int(from), len(text))
		needle := text[lo:min(len(text), lo+int(size))]
		if !filter.mayHave(needed(needle)) {
			t.Errorf("%q is in %q and ruled out", needle, raw)
		}
	})
}

func TestCursor(t *testing.T) {
	got, err := parseCursor(cursorAlerts, formatCursor(cursorAlerts, -1, 1<<60), 2)
	if d := cmp.Diff([]int64{-1, 1 << 60}, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if _, err := parseCursor(cursorEvents, formatCursor(cursorAlerts, 1), 1); err == nil {
		t.Error("the cursor of another list is taken")
	}
}
