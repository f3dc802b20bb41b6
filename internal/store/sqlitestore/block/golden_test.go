package block_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
	"github.com/picket-edr/picket/internal/store/storetest"
)

// A golden block is a block in a file.
type golden struct {
	FirstSeq    int64          `json:"first_seq"`
	EventCount  int            `json:"event_count"`
	Span        int64          `json:"span"`
	RawBytes    int64          `json:"raw_bytes"`
	MinTime     int64          `json:"min_time"`
	MaxTime     int64          `json:"max_time"`
	MinReceived int64          `json:"min_received"`
	MaxReceived int64          `json:"max_received"`
	Indexed     bool           `json:"indexed"`
	Directory   []byte         `json:"directory"`
	Parts       map[int][]byte `json:"parts"`
}

func (g *golden) ReadPart(buf []byte, number int) ([]byte, error) {
	if g.Parts[number] == nil {
		return nil, nil
	}
	return append(buf[:0], g.Parts[number]...), nil
}

func (g *golden) open() *block.Block {
	h := block.Header{EventCount: g.EventCount, Span: g.Span, RawBytes: g.RawBytes, MinTime: g.MinTime, MaxTime: g.MaxTime,
		MinReceived: g.MinReceived, MaxReceived: g.MaxReceived, Indexed: g.Indexed}
	return block.Open(h, g.FirstSeq, g.Directory, g)
}

// The blocks under testdata were written by an earlier version of picket. They
// hold the events of storetest's golden store.
func TestGolden(t *testing.T) {
	want := storetest.GoldenEvents(t)
	for _, name := range []string{"fresh", "indexed"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var files []*golden
		if err := json.Unmarshal(data, &files); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, name, files, want)
		checkSearch(t, name, files, want, "")
		checkSearch(t, name, files, want, "cmd.exe or user.name=M?LLER or Number=1.5*")
		checkIDs(t, name, files, want)
	}
}

func checkWhole(t *testing.T, name string, files []*golden, want []picket.Event) {
	t.Helper()
	var blocks []*block.Block
	for _, g := range files {
		blocks = append(blocks, g.open())
	}
	in, err := block.ReadAll(blocks)
	if err != nil {
		t.Fatal(err)
	}
	got := in.EventsWithFields()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s, read whole (-want +got):\n%s", name, d)
	}
}

func checkSearch(t *testing.T, name string, files []*golden, all []picket.Event, query string) {
	t.Helper()
	where, err := store.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []picket.Event
	var view store.EventView
	for i := len(all) - 1; i >= 0; i-- {
		if view.Reset(&all[i]); where == nil || where.Match(&view) {
			want = append(want, all[i])
		}
	}
	s := block.NewSearcher(block.NewFrameCache())
	for i := len(files) - 1; i >= 0; i-- {
		var hits []block.FoundEvent
		err := s.Search(t.Context(), files[i].open(), block.NewQuery(where, math.MinInt64, math.MaxInt64, math.MaxInt64), func(h block.FoundEvent) bool {
			hits = append(hits, h)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hits {
			got = append(got, h.Event)
		}
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || len(want) == 0 {
		t.Errorf("%s, search for %q (-want +got):\n%s", name, query, d)
	}
}

func checkIDs(t *testing.T, name string, files []*golden, want []picket.Event) {
	t.Helper()
	s := block.NewSearcher(block.NewFrameCache())
	for i := range want {
		found := false
		for _, g := range files {
			b := g.open()
			rows, err := b.FindID(want[i].ID)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) == 0 {
				continue
			}
			found = true
			got, err := s.Event(b, rows[0])
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want[i], got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("%s, event %q (-want +got):\n%s", name, want[i].ID, d)
			}
		}
		if !found {
			t.Errorf("%s: event %q is missing", name, want[i].ID)
		}
	}
}
