package storetest

import (
	"bytes"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func testPublishedRules(t *testing.T, s store.Store) {
	_, err := s.PublishedRules(t.Context(), "")
	checkError(t, "before anything is published", err, picket.ErrNotFound)
	for i, r := range []store.PublishedRules{
		{Version: "one", Bundle: []byte("first"), Published: startTime},
		{Version: "two", Bundle: bytes.Repeat([]byte{0, 1, 2, 255}, 2<<20), Published: startTime.Add(time.Second)},
	} {
		if err := s.PublishRules(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		got := must[store.PublishedRules](t)(s.PublishedRules(t.Context(), []string{"", "one"}[i]))
		if !bytes.Equal(got.Bundle, r.Bundle) { // cmp.Diff would take minutes
			t.Errorf("%d bytes are read as %d other ones", len(r.Bundle), len(got.Bundle))
		}
		got.Bundle, r.Bundle = nil, nil
		checkEqual(t, "published", got, r)
		checkEqual(t, "known", must[store.PublishedRules](t)(s.PublishedRules(t.Context(), r.Version)), r)
	}
}

func testWorkers(t *testing.T, s store.Store) {
	a := store.Worker{ID: "a", Host: "h1", Version: "1", RulesRevision: "r1", Concurrency: 2, Started: startTime, LastSeen: startTime.Add(time.Minute), Events: 5}
	b := store.Worker{ID: "b", Host: "h2", Version: "1", RulesRevision: "r1", Concurrency: 4, Started: startTime, LastSeen: startTime.Add(2 * time.Minute)}
	for _, w := range []store.Worker{b, a} {
		if err := s.ReportWorker(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	checkEqual(t, "workers", must[[]store.Worker](t)(s.Workers(t.Context(), startTime)), []store.Worker{a, b})
	b.RulesRevision, b.LastSeen, b.Events = "r2", startTime.Add(3*time.Minute), 7
	if err := s.ReportWorker(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "since", must[[]store.Worker](t)(s.Workers(t.Context(), startTime.Add(2*time.Minute))), []store.Worker{b})
}
