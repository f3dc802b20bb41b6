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
	if n := must[int64](t)(s.PruneEvents(t.Context(), store.Retention{Now: now, MaxAge: time.Hour})); n != 0 {
		t.Errorf("%d events pruned too early", n)
	}
	if n := must[int64](t)(s.PruneEvents(t.Context(), store.Retention{Now: now.Add(time.Hour), MaxAge: time.Hour})); n != 50 {
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
	if n := must[int64](t)(s.PruneEvents(t.Context(), store.Retention{Now: startTime, MaxBytes: 1 << 40})); n != 0 {
		t.Errorf("%d events pruned although all are within the limit", n)
	}
	n := must[int64](t)(s.PruneEvents(t.Context(), store.Retention{Now: startTime, MaxBytes: 1}))
	left := searchAll(t, s, store.EventQuery{})
	if n == 0 || int(n)+len(left) != len(evs) {
		t.Errorf("%d pruned and %d left of %d", n, len(left), len(evs))
	}
	checkEqual(t, "the newest are left", eventIDs(left), idsNewestFirst(evs[n:]))
}

// testPruneAlerts checks that closed alerts are deleted with their matches and counters,
// and all others stay.
func testPruneAlerts(t *testing.T, s store.Store) {
	const matches = 2100 // more than one transaction deletes
	evs := eventsOnOneHost(t, 0, matches+3)
	b := store.Batch{ID: "b1", Events: evs[:matches]}
	for _, ev := range b.Events {
		b.Matches = append(b.Matches, makeMatch("old", ev))
	}
	old := save(t, s, b)[0].Opened[0]
	b2 := store.Batch{ID: "b2", Events: evs[matches : matches+2]}
	b2.Matches = []picket.Match{makeMatch("new", b2.Events[0]), makeMatch("open", b2.Events[1])}
	opened := save(t, s, b2)[0].Opened
	resolved, falsePositive := picket.StatusResolved, picket.StatusFalsePositive
	updateAlert(t, s, old.ID, store.AlertUpdate{Status: &resolved, At: startTime})
	updateAlert(t, s, opened[0].ID, store.AlertUpdate{Status: &falsePositive, At: startTime.Add(time.Hour)})

	for i, before := range []time.Duration{-time.Minute, 0, time.Minute} {
		if n := must[int64](t)(s.PruneAlerts(t.Context(), startTime.Add(before))); n != int64(i/2) {
			t.Errorf("%d alerts deleted before %v", n, before)
		}
	}
	_, err := s.Alert(t.Context(), old.ID)
	checkError(t, "a deleted alert", err, picket.ErrNotFound)
	if got := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{RuleID: "old"})).Matches; len(got) != 0 {
		t.Errorf("%d matches of the deleted alert", len(got))
	}
	counts := must[store.AlertCounts](t)(s.AlertCounts(t.Context()))
	if counts.Total != 2 || counts.ByStatus[resolved] != 0 || counts.ByStatus[falsePositive] != 1 || counts.ByStatus[picket.StatusOpen] != 1 {
		t.Errorf("counts: %+v", counts)
	}

	// A later match of the rule opens another alert, and is counted from the start.
	b3 := store.Batch{ID: "b3", Events: evs[matches+2:]}
	b3.Matches = []picket.Match{makeMatch("old", b3.Events[0])}
	if saved := save(t, s, b3)[0]; len(saved.Opened) != 1 {
		t.Errorf("saved %+v", saved)
	}
	if n := must[int64](t)(s.PruneAlerts(t.Context(), time.Now().Add(time.Hour))); n != 1 {
		t.Errorf("%d alerts deleted, want the other closed one", n)
	}
	counts = must[store.AlertCounts](t)(s.AlertCounts(t.Context()))
	wantTop := []store.RuleCount{{RuleID: "old", Title: "Title of old", Level: "high", Alerts: 1, Matches: 1}, {RuleID: "open", Title: "Title of open", Level: "high", Alerts: 1, Matches: 1}}
	checkEqual(t, "rules", counts.TopRules, wantTop)
	if h := must[store.Host](t)(s.Host(t.Context(), store.HostKey{AgentID: evs[0].AgentID, Name: "host"})); h.Alerts != 2 {
		t.Errorf("the host has %d open alerts, want 2", h.Alerts)
	}
	if n := must[store.Totals](t)(s.Totals(t.Context())).Matches; n != matches+3 {
		t.Errorf("%d matches in all, want %d", n, matches+3)
	}
}
