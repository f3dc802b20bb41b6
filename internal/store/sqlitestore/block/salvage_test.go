package block_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
	"github.com/picket-edr/picket/internal/store/storetest"
	"github.com/picket-edr/picket/internal/testenv"
)

// encoded returns a block as if it had been written.
func encoded(e block.Encoded) *golden {
	g := &golden{FirstSeq: 7, EventCount: e.EventCount, Span: e.Span, RawBytes: e.RawBytes, MinTime: e.MinTime, MaxTime: e.MaxTime,
		MinReceived: e.MinReceived, MaxReceived: e.MaxReceived, Indexed: e.Indexed, Directory: e.Directory, Parts: make(map[int][]byte)}
	for _, p := range e.Parts {
		g.Parts[p.Number] = p.Data
	}
	return g
}

// salvaged returns the events that Salvage reads of a block, read from the block that they
// are merged into.
func salvaged(t *testing.T, g *golden) []picket.Event {
	t.Helper()
	if err := g.open().Verify(); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("Verify: %v", err)
	}
	in, n, first, lost, err := g.open().Salvage()
	if errors.Is(err, block.ErrCorrupt) {
		return nil
	}
	testenv.Check(t, err)
	if n == 0 {
		return nil
	}
	merged := encoded(block.NewEncoder().EncodeMerged(in))
	merged.FirstSeq = first
	testenv.Check(t, merged.open().Verify())
	again, err := block.ReadAll([]*block.Block{merged.open()})
	testenv.Check(t, err)
	if g.EventCount > 0 && n+lost != g.EventCount {
		t.Errorf("%d events read, %d lost of %d", n, lost, g.EventCount)
	}
	return again.EventsWithFields()
}

// texts returns events as text, by id.
func texts(evs []picket.Event) map[string]string {
	out := make(map[string]string)
	for _, ev := range evs {
		raw := ev.Raw
		ev.Raw = nil // printed as numbers otherwise
		out[ev.ID] = fmt.Sprintf("%+v %s", ev, raw)
	}
	return out
}

// A block without one of its parts: without the index, its directory or its row, all
// events are read; without a frame, those of the others.
func TestSalvage(t *testing.T) {
	t.Parallel()
	want := storetest.GoldenEvents(t)
	for i := range 1300 { // several frames
		ev := want[i%30]
		ev.ID, ev.Sender = fmt.Sprint("more ", i), "agent:a"
		ev.Raw = fmt.Appendf(nil, `{"n":%d,"text":"%01000d"}`, i, i)
		ev.Fields = nil
		want = append(want, ev)
	}
	e := block.NewEncoder()
	fresh := encoded(e.EncodeFresh(want, nil))
	in, err := block.ReadAll([]*block.Block{fresh.open()})
	testenv.Check(t, err)
	want = in.EventsWithFields()
	in, err = block.ReadAll([]*block.Block{fresh.open()})
	testenv.Check(t, err)
	indexed := encoded(e.EncodeIndexed(in))
	for name, whole := range map[string]*golden{"fresh": fresh, "indexed": indexed} {
		testenv.Check(t, whole.open().Verify())
		for number := range whole.Parts {
			g := *whole
			g.Parts = maps.Clone(whole.Parts)
			delete(g.Parts, number)
			got := salvaged(t, &g)
			isFrame, isIndex := number >= 16 && number < 144, number == 2 || number == 4 || number >= 144
			switch {
			case isIndex && !maps.Equal(texts(want), texts(got)):
				t.Errorf("%s without part %d: other events", name, number)
			case isFrame && (len(got) == 0 || len(got) >= len(want)):
				t.Errorf("%s without frame %d: %d events of %d", name, number, len(got), len(want))
			case !isIndex && !isFrame && got != nil:
				t.Errorf("%s without part %d: %d events", name, number, len(got))
			}
			all := texts(want)
			for id, text := range texts(got) {
				if all[id] != text {
					t.Fatalf("%s without part %d: event %s, want %s", name, number, text, all[id])
				}
			}
		}
		onlyParts := &golden{FirstSeq: whole.FirstSeq, Parts: whole.Parts}
		if !maps.Equal(texts(want), texts(salvaged(t, onlyParts))) {
			t.Errorf("%s without its row: other events", name)
		}
	}
}
