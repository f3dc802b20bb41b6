package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// observed makes a match that correlations want.
func observed(rule string, ev picket.Event, silent bool) picket.Match {
	m := match(rule, ev)
	m.Observed, m.CorrelationOnly = map[string]string{"User": "u"}, silent
	return m
}

// What is for correlations is kept in order and once; what is for them only
// opens no alert.
func observations(t *testing.T, s store.Store) {
	evs := plain(t, 0, 6)
	batch := func(n int) store.Batch {
		two := evs[2*n : 2*n+2]
		return store.Batch{ID: fmt.Sprint("b", n), Events: two, Matches: []picket.Match{
			observed("loud", two[0], false), observed("silent", two[0], true), match("other", two[1]),
		}}
	}
	for n := range 3 {
		if saved := save(t, s, batch(n)); saved[0].Matches != 2 {
			t.Errorf("saved %+v", saved)
		}
	}
	save(t, s, batch(1))                                                          // the same batch again
	save(t, s, store.Batch{ID: "b9", Events: evs[:2], Matches: batch(0).Matches}) // the same events again

	var got []string
	mark := int64(0)
	for {
		page, next, err := s.Observations(t.Context(), mark, 1)
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
		if next <= mark {
			t.Fatalf("mark %d after %d", next, mark)
		}
		mark = next
	}
	var want []string
	for n := range 3 {
		want = append(want, "loud "+evs[2*n].ID, "silent "+evs[2*n].ID)
	}
	same(t, "observations", got, want)
	page := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{RuleID: "silent"}))
	if len(page.Matches) > 0 {
		t.Errorf("silent rules have matches: %v", page.Matches)
	}
}

// One follower concludes at a time, and a conclusion is all or nothing.
func conclusions(t *testing.T, s store.Store) {
	evs := plain(t, 0, 4)
	save(t, s, store.Batch{ID: "b", Events: evs, Matches: []picket.Match{observed("base", evs[0], true)}})
	lead := func(holder string, ttl time.Duration, want bool) {
		t.Helper()
		if ok, err := s.AcquireCorrelationLease(t.Context(), holder, ttl); err != nil || ok != want {
			t.Errorf("%s leads: %t, %v; want %t", holder, ok, err, want)
		}
	}
	if mark, state, err := s.CorrelationCheckpoint(t.Context()); mark != 0 || state != nil || err != nil {
		t.Errorf("at first: %d, %q, %v", mark, state, err)
	}
	_, err := s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 1})
	wantErr(t, "conclude without leading", err, picket.ErrConflict)
	lead("a", time.Hour, true)
	lead("b", time.Hour, false)
	lead("a", time.Hour, true)

	made := make([]picket.Match, 0, 3)
	for _, ev := range evs[:3] {
		m := match("corr", ev)
		m.Host, m.AlertAgent = "one", "agent-x"
		made = append(made, m)
	}
	saved, err := s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 7, State: []byte("s1"), Matches: made})
	if err != nil || saved.Matches != 3 || len(saved.Opened) != 1 || saved.Opened[0].Host != "one" || saved.Opened[0].AgentID != "agent-x" {
		t.Fatalf("saved %+v, %v", saved, err)
	}
	more := match("corr", evs[3])
	more.Host, more.AlertAgent = "one", "agent-x"
	saved, err = s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 8, Matches: append(made, more)})
	if err != nil || saved.Matches != 1 || len(saved.Opened) != 0 {
		t.Errorf("saved %+v, %v", saved, err)
	}
	_, err = s.CommitCorrelations(t.Context(), "b", store.CorrelationCommit{Offset: 9, Matches: made})
	wantErr(t, "conclude in another's stead", err, picket.ErrConflict)
	if mark, state, err := s.CorrelationCheckpoint(t.Context()); mark != 8 || string(state) != "s1" || err != nil {
		t.Errorf("concluded: %d, %q, %v", mark, state, err)
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
		t.Errorf("not forgotten: %v, %v", page, err)
	}
	lead("a", -time.Second, true) // until then
	lead("b", time.Hour, true)
	_, err = s.CommitCorrelations(t.Context(), "a", store.CorrelationCommit{Offset: 9})
	wantErr(t, "conclude after leading", err, picket.ErrConflict)
}
