package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func testPruneAge(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 120)
	now := evs[50].Received
	// The time of receipt decides, not the order.
	evs[49].Received, evs[51].Received = evs[51].Received, evs[49].Received
	kept := append([]picket.Event{evs[49], evs[50]}, evs[52:]...)
	save(t, s, store.Batch{ID: "b1", Events: evs[:60], Matches: []picket.Match{makeMatch("r", evs[0])}}, store.Batch{ID: "b2", Events: evs[60:]})
	if n := must[int64](t)(s.Prune(t.Context(), store.Retention{Now: now, MaxAge: time.Hour})); n != 0 {
		t.Errorf("%d events pruned too early", n)
	}
	if n := must[int64](t)(s.Prune(t.Context(), store.Retention{Now: now.Add(time.Hour), MaxAge: time.Hour})); n != 50 {
		t.Errorf("%d events pruned, want 50", n)
	}
	checkEqual(t, "events", eventIDs(searchAll(t, s, store.EventQuery{})), idsNewestFirst(kept))
	checkEqual(t, "pages", eventIDs(searchAll(t, s, store.EventQuery{Limit: 1})), idsNewestFirst(kept))
	_, err := s.Event(t.Context(), store.RefOf(&evs[0]))
	checkError(t, "a pruned event", err, picket.ErrNotFound)
	got := must[store.Totals](t)(s.Totals(t.Context()))
	if got.Stored != 120 || got.Events != 70 {
		t.Errorf("totals: %+v, want 120 stored, 70 kept", got)
	}
	matches := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{EventID: evs[0].ID})).Matches
	if len(matches) != 1 {
		t.Errorf("%d matches of the pruned event, want 1: they stay with their alerts", len(matches))
	}
	save(t, s, store.Batch{ID: "b3", Events: plainEvents(t, 120, 130)})
	checkEqual(t, "with later ones", eventIDs(searchAll(t, s, store.EventQuery{Where: store.NewTextTerm("process")})), idsNewestFirst(append(kept, plainEvents(t, 120, 130)...)))
}

func testPruneBytes(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 50)
	for i := range evs {
		save(t, s, store.Batch{ID: fmt.Sprint("b", i), Events: evs[i : i+1]})
	}
	if n := must[int64](t)(s.Prune(t.Context(), store.Retention{Now: start, MaxBytes: 1 << 40})); n != 0 {
		t.Errorf("%d events pruned although all are within the limit", n)
	}
	n := must[int64](t)(s.Prune(t.Context(), store.Retention{Now: start, MaxBytes: 1}))
	left := searchAll(t, s, store.EventQuery{})
	if n == 0 || int(n)+len(left) != len(evs) {
		t.Errorf("%d pruned and %d left of %d", n, len(left), len(evs))
	}
	checkEqual(t, "the newest are left", eventIDs(left), idsNewestFirst(evs[n:]))
}
