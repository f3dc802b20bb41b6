package storetest

import (
	"fmt"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func testMatchQueries(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 30)
	b := store.Batch{ID: "b", Events: evs}
	for i, ev := range evs {
		b.Matches = append(b.Matches, makeMatch(fmt.Sprint("rule-", i%4), ev))
	}
	save(t, s, b)
	all := map[string]string{} // alert by match
	page := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{}))
	for i, m := range page.Matches {
		want := b.Matches[len(b.Matches)-1-i]
		want.Title, want.Level, want.Tags, want.Host = "", 0, nil, ""
		want.AlertID = m.AlertID
		checkEqual(t, "match", m, want)
		all[m.ID] = m.AlertID
	}
	if len(all) != 30 {
		t.Fatalf("%d matches, want 30", len(all))
	}
	one := all[b.Matches[9].ID]
	for _, c := range []struct {
		name string
		q    store.MatchQuery
		want func(picket.Match) bool
	}{
		{"rule", store.MatchQuery{RuleID: "rule-2"}, func(m picket.Match) bool { return m.RuleID == "rule-2" }},
		{"agent", store.MatchQuery{AgentID: "agent-1"}, func(m picket.Match) bool { return m.AgentID == "agent-1" }},
		{"event", store.MatchQuery{EventID: evs[3].ID}, func(m picket.Match) bool { return m.EventID == evs[3].ID }},
		{"alert", store.MatchQuery{AlertID: one}, func(m picket.Match) bool { return all[m.ID] == one }},
		{"no alert", store.MatchQuery{AlertID: "nothing"}, func(picket.Match) bool { return false }},
		{"time", store.MatchQuery{Since: evs[10].Time, Until: evs[20].Time}, func(m picket.Match) bool {
			return !m.Time.Before(evs[10].Time) && m.Time.Before(evs[20].Time)
		}},
	} {
		var want, got []string
		for i := len(b.Matches) - 1; i >= 0; i-- {
			if c.want(b.Matches[i]) {
				want = append(want, b.Matches[i].ID)
			}
		}
		for c.q.Limit = 4; ; {
			page := must[store.MatchPage](t)(s.Matches(t.Context(), c.q))
			for _, m := range page.Matches {
				got = append(got, m.ID)
			}
			if c.q.Cursor = page.Next; page.Next == "" {
				break
			}
		}
		checkEqual(t, c.name, got, want)
	}
}
