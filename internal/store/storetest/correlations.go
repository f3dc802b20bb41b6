package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// makeObservedMatch returns a match that is also an observation.
func makeObservedMatch(rule string, ev picket.Event, silent bool) picket.Match {
	m := makeMatch(rule, ev)
	m.Observed, m.CorrelationOnly = map[string]string{"User": "u"}, silent
	return m
}

// testObservations checks that observations are stored once and in order, and that
// silent matches open no alert.
func testObservations(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 6)
	batch := func(n int) store.Batch {
		two := evs[2*n : 2*n+2]
		return store.Batch{ID: fmt.Sprint("b", n), Events: two, Matches: []picket.Match{
			makeObservedMatch("loud", two[0], false), makeObservedMatch("silent", two[0], true), makeMatch("other", two[1]),
		}}
	}
	for n := range 3 {
		if saved := save(t, s, batch(n)); saved[0].Matches != 2 {
			t.Errorf("saved %+v", saved)
		}
	}
	save(t, s, batch(1))                                                          // a duplicate batch
	save(t, s, store.Batch{ID: "b9", Events: evs[:2], Matches: batch(0).Matches}) // duplicate events

	var got []string
	offset := int64(0)
	for {
		page, next, err := s.Observations(t.Context(), offset, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page {
			if o.Fields["User"] != "u" || o.Arrived.IsZero() || o.AgentID == "" || o.Host == "" || !o.Time.Equal(evs[0].Time) && o.EventID == evs[0].ID {
				t.Errorf("observation is %+v", o)
			}
			got = append(got, o.RuleID+" "+o.EventID)
		}
		if len(page) == 0 {
			break
		}
		if next <= offset {
			t.Fatalf("offset %d after %d", next, offset)
		}
		offset = next
	}
	var want []string
	for n := range 3 {
		want = append(want, "loud "+evs[2*n].ID, "silent "+evs[2*n].ID)
	}
	checkEqual(t, "observations", got, want)
	page := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{RuleID: "silent"}))
	if len(page.Matches) > 0 {
		t.Errorf("silent rules have matches: %v", page.Matches)
	}
}

// testCorrelationCommits checks that one holder at a time has the lease, and that a
// commit is atomic.
func testCorrelationCommits(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 4)
	save(t, s, store.Batch{ID: "b", Events: evs, Matches: []picket.Match{makeObservedMatch("base", evs[0], true)}})
	acquire := func(holder string, ttl time.Duration, want bool) {
		t.Helper()
		if ok, err := s.AcquireCorrelationLease(t.Context(), holder, ttl); err != nil || ok != want {
			t.Errorf("%s acquires the lease: %t, %v; want %t", holder, ok, err, want)
		}
	}
	if offset, state, err := s.CorrelationCheckpoint(t.Context()); offset != 0 || state != nil || err != nil {
		t.Errorf("at first: %d, %q, %v", offset, state, err)
	}
	_, err := s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 1})
	checkError(t, "commit without the lease", err, picket.ErrConflict)
	acquire("a", time.Hour, true)
	acquire("b", time.Hour, false)
	acquire("a", time.Hour, true)

	matches := make([]picket.Match, 0, 3)
	for _, ev := range evs[:3] {
		m := makeMatch("corr", ev)
		m.Host, m.AlertAgent = "one", "agent-x"
		matches = append(matches, m)
	}
	saved, err := s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 7, State: []byte("s1"), Matches: matches})
	if err != nil || saved.Matches != 3 || len(saved.Opened) != 1 || saved.Opened[0].Host != "one" || saved.Opened[0].AgentID != "agent-x" {
		t.Fatalf("saved %+v, %v", saved, err)
	}
	more := makeMatch("corr", evs[3])
	more.Host, more.AlertAgent = "one", "agent-x"
	saved, err = s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 8, Matches: append(matches, more)})
	if err != nil || saved.Matches != 1 || len(saved.Opened) != 0 {
		t.Errorf("saved %+v, %v", saved, err)
	}
	_, err = s.CommitCorrelations(t.Context(), "b", store.CorrelationCommit{Offset: 9, Matches: matches})
	checkError(t, "commit while another holder has the lease", err, picket.ErrConflict)
	if offset, state, err := s.CorrelationCheckpoint(t.Context()); offset != 8 || string(state) != "s1" || err != nil {
		t.Errorf("checkpoint: %d, %q, %v", offset, state, err)
	}
	page := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{RuleID: "corr"}))
	if len(page.Matches) != 4 || page.Matches[0].AgentID != evs[3].AgentID {
		t.Errorf("matches are %+v", page.Matches)
	}
	a, err := s.Alert(t.Context(), page.Matches[0].AlertID)
	if err != nil || a.Count != 4 {
		t.Errorf("alert is %+v, %v", a, err)
	}
	if _, err := s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 1 << 40, DeleteBefore: time.Now().Add(365 * 24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if page, _, err := s.Observations(t.Context(), 0, 10); err != nil || len(page) != 0 {
		t.Errorf("observations that should be deleted: %v, %v", page, err)
	}
	acquire("a", -time.Second, true) // expires at once
	acquire("b", time.Hour, true)
	_, err = s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 9})
	checkError(t, "commit after the lease has expired", err, picket.ErrConflict)
}
