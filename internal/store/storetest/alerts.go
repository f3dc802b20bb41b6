package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// eventsOnOneHost returns events of one agent and host, one second apart.
func eventsOnOneHost(t testing.TB, lo, hi int) []picket.Event {
	evs := plainEvents(t, lo, hi)
	for i := range evs {
		evs[i].AgentID, evs[i].Host = "agent", "host"
	}
	return evs
}

func listAlerts(t testing.TB, s store.Store, q store.AlertQuery) []picket.Alert {
	t.Helper()
	return must[store.AlertPage](t)(s.Alerts(t.Context(), q)).Alerts
}

func testAlertGrouping(t *testing.T, s store.Store) {
	evs := eventsOnOneHost(t, 0, 10)
	m := makeMatch("r", evs[5])
	saved := save(t, s, store.Batch{ID: "b1", Events: evs[5:6], Matches: []picket.Match{m}})[0]
	if len(saved.Opened) != 1 || len(saved.Opened[0].ID) < 16 {
		t.Fatalf("opened %+v", saved.Opened)
	}
	a := saved.Opened[0]
	if a.Opened.IsZero() || a.Updated.IsZero() {
		t.Errorf("opened %v, updated %v", a.Opened, a.Updated)
	}
	want := picket.Alert{ID: a.ID, RuleID: "r", Title: "Title of r", Level: sigma.High, Tags: []string{"attack.t1059"}, AgentID: "agent", Host: "host",
		Status: picket.StatusOpen, Count: 1, FirstSeen: evs[5].Time, LastSeen: evs[5].Time, Opened: a.Opened, Updated: a.Updated}
	checkEqual(t, "opened", a, want)

	saved = save(t, s, store.Batch{ID: "b2", Events: append(evs[:5:5], evs[6:]...), Matches: []picket.Match{makeMatch("r", evs[2]), makeMatch("r", evs[8]), makeMatch("r2", evs[8])}})[0]
	if len(saved.Opened) != 1 || saved.Opened[0].RuleID != "r2" || saved.Matches != 3 {
		t.Errorf("joined: %+v", saved)
	}
	got := must[picket.Alert](t)(s.Alert(t.Context(), a.ID))
	want.Count, want.FirstSeen, want.LastSeen, want.Updated = 3, evs[2].Time, evs[8].Time, got.Updated
	checkEqual(t, "joined", got, want)

	other := plainEvents(t, 10, 12)
	save(t, s, store.Batch{ID: "b3", Events: other, Matches: []picket.Match{makeMatch("r", other[0]), makeMatch("r", other[1])}})
	if n := len(listAlerts(t, s, store.AlertQuery{RuleID: "r"})); n != 3 {
		t.Errorf("%d alerts of the rule on three hosts, want 3", n)
	}
	_, err := s.Alert(t.Context(), "nothing")
	checkError(t, "an unknown alert", err, picket.ErrNotFound)
}

func testAlertsOfDuplicateEvents(t *testing.T, s store.Store) {
	evs := eventsOnOneHost(t, 0, 4)
	save(t, s, store.Batch{ID: "b1", Events: evs[:2], Matches: []picket.Match{makeMatch("r", evs[0])}})
	// The agent sends two of them again, and the rules have changed since.
	saved := save(t, s, store.Batch{ID: "b2", Events: evs, Matches: []picket.Match{makeMatch("r", evs[0]), makeMatch("new", evs[1]), makeMatch("r", evs[3])}})[0]
	if saved.Matches != 1 || len(saved.Opened) != 0 {
		t.Errorf("saved %+v, want one match and no alert", saved)
	}
	got := listAlerts(t, s, store.AlertQuery{})
	if len(got) != 1 || got[0].Count != 2 {
		t.Errorf("alerts %+v, want one of two matches", got)
	}
	if tot := must[store.Totals](t)(s.Totals(t.Context())); tot.Matches != 2 {
		t.Errorf("%d matches in all, want 2", tot.Matches)
	}
}

func updateAlert(t testing.TB, s store.Store, id string, u store.AlertUpdate) picket.Alert {
	t.Helper()
	return must[picket.Alert](t)(s.UpdateAlert(t.Context(), id, u))
}

func testTriage(t *testing.T, s store.Store) {
	evs := eventsOnOneHost(t, 0, 2)
	a := save(t, s, store.Batch{ID: "b1", Events: evs[:1], Matches: []picket.Match{makeMatch("r", evs[0])}})[0].Opened[0]
	at := startTime.Add(time.Hour)
	status, who := picket.StatusInvestigating, "ann"
	got := updateAlert(t, s, a.ID, store.AlertUpdate{Status: &status, Assignee: &who, Note: "looking", Author: "bob", At: at})
	if got.Status != status || got.Assignee != who || !got.Updated.Equal(at) || len(got.Notes) != 3 {
		t.Errorf("updated: %+v, want status, assignee and three notes", got)
	}
	for _, n := range got.Notes {
		if n.Author != "bob" || !n.Time.Equal(at) || n.Text == "" {
			t.Errorf("note %+v", n)
		}
	}
	if got.Notes[len(got.Notes)-1].Text != "looking" {
		t.Errorf("the last note is %q", got.Notes[len(got.Notes)-1].Text)
	}
	checkEqual(t, "read back", must[picket.Alert](t)(s.Alert(t.Context(), a.ID)), got)

	again := updateAlert(t, s, a.ID, store.AlertUpdate{Status: &status, Author: "bob", At: at.Add(time.Hour)})
	checkEqual(t, "no change, no note", len(again.Notes), len(got.Notes))

	saved := save(t, s, store.Batch{ID: "b2", Events: evs[1:], Matches: []picket.Match{makeMatch("r", evs[1])}})[0]
	if len(saved.Opened) != 0 {
		t.Error("a match opened another alert although one is being investigated")
	}
	after := must[picket.Alert](t)(s.Alert(t.Context(), a.ID))
	if after.Count != 2 || after.Assignee != who || len(after.Notes) != 3 {
		t.Errorf("a match changed more than it should: %+v", after)
	}

	bad := picket.AlertStatus("fine")
	_, err := s.UpdateAlert(t.Context(), a.ID, store.AlertUpdate{Status: &bad, At: at})
	checkError(t, "an unknown status", err, picket.ErrInvalid)
	_, err = s.UpdateAlert(t.Context(), "nothing", store.AlertUpdate{Note: "x", At: at})
	checkError(t, "an unknown alert", err, picket.ErrNotFound)
}

func testReopenAlert(t *testing.T, s store.Store) {
	evs := eventsOnOneHost(t, 0, 4)
	first := save(t, s, store.Batch{ID: "b1", Events: evs[:1], Matches: []picket.Match{makeMatch("r", evs[0])}})[0].Opened[0]
	closed, open := picket.StatusResolved, picket.StatusOpen
	updateAlert(t, s, first.ID, store.AlertUpdate{Status: &closed, At: startTime})

	saved := save(t, s, store.Batch{ID: "b2", Events: evs[1:2], Matches: []picket.Match{makeMatch("r", evs[1])}})[0]
	if len(saved.Opened) != 1 || saved.Opened[0].ID == first.ID {
		t.Fatalf("after the alert is closed, a match opened %+v, want a new alert", saved.Opened)
	}
	second := saved.Opened[0]
	_, err := s.UpdateAlert(t.Context(), first.ID, store.AlertUpdate{Status: &open, At: startTime})
	checkError(t, "reopening while a newer alert is open", err, picket.ErrConflict)

	dismissed := picket.StatusFalsePositive
	updateAlert(t, s, second.ID, store.AlertUpdate{Status: &dismissed, At: startTime})
	updateAlert(t, s, first.ID, store.AlertUpdate{Status: &open, At: startTime})
	save(t, s, store.Batch{ID: "b3", Events: evs[2:3], Matches: []picket.Match{makeMatch("r", evs[2])}})
	if got := must[picket.Alert](t)(s.Alert(t.Context(), first.ID)); got.Count != 2 {
		t.Errorf("the reopened alert counts %d, want 2", got.Count)
	}
}

// testAlertMatchLimit gives an alert more matches than it keeps: most of them as
// matches of a correlation, because those need no new events, and the last by Save.
func testAlertMatchLimit(t *testing.T, s store.Store) {
	const n, saved = picket.MaxStoredMatchesPerAlert + 200, 400
	evs := eventsOnOneHost(t, 0, n)
	if ok, err := s.AcquireCorrelationLease(t.Context(), "a", time.Hour); !ok || err != nil {
		t.Fatalf("lease: %t, %v", ok, err)
	}
	c := store.CorrelationCommit{Offset: 1}
	for _, ev := range evs[:n-saved] {
		c.Matches = append(c.Matches, makeMatch("r", ev))
	}
	got, err := s.CommitCorrelations(t.Context(), "a", c)
	if err != nil || got.Matches != len(c.Matches) || len(got.Opened) != 1 {
		t.Fatalf("committed %d matches of %d, %v", got.Matches, len(c.Matches), err)
	}
	for lo := n - saved; lo < n; lo += 200 {
		b := store.Batch{ID: fmt.Sprint("b", lo), Events: evs[lo : lo+200]}
		for _, ev := range b.Events {
			b.Matches = append(b.Matches, makeMatch("r", ev))
		}
		if got := save(t, s, b)[0]; got.Matches != len(b.Events) {
			t.Fatalf("saved %d matches of %d", got.Matches, len(b.Events))
		}
	}
	list := listAlerts(t, s, store.AlertQuery{})
	if len(list) != 1 || list[0].Count != n || !list[0].LastSeen.Equal(evs[n-1].Time) {
		t.Fatalf("alerts %+v", list)
	}
	kept := 0
	for q := (store.MatchQuery{AlertID: list[0].ID, Limit: n}); ; {
		page := must[store.MatchPage](t)(s.Matches(t.Context(), q))
		kept += len(page.Matches)
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if kept != picket.MaxStoredMatchesPerAlert {
		t.Errorf("%d matches kept, want %d", kept, picket.MaxStoredMatchesPerAlert)
	}
	if tot := must[store.Totals](t)(s.Totals(t.Context())); tot.Matches != n {
		t.Errorf("%d matches in all, want %d", tot.Matches, n)
	}
}

// saveTwelveAlerts saves twelve alerts of four rules, three agents and two hosts,
// in the order in which they were seen.
func saveTwelveAlerts(t testing.TB, s store.Store) []picket.Alert {
	evs := plainEvents(t, 0, 12)
	b := store.Batch{ID: "twelve", Events: evs}
	for i, ev := range evs {
		m := makeMatch(fmt.Sprint("rule-", i/3), ev)
		m.Level = sigma.Informational + sigma.Level(i/3)
		m.Title = fmt.Sprintf("Übel %d", i)
		b.Matches = append(b.Matches, m)
	}
	opened := save(t, s, b)[0].Opened
	if len(opened) != 12 {
		t.Fatalf("%d alerts, want 12", len(opened))
	}
	for i, status := range []picket.AlertStatus{picket.StatusResolved, picket.StatusInvestigating, picket.StatusFalsePositive} {
		opened[i] = updateAlert(t, s, opened[i].ID, store.AlertUpdate{Status: &status, At: startTime})
	}
	return opened
}

func testAlertQueries(t *testing.T, s store.Store) {
	all := saveTwelveAlerts(t, s)
	ann, bob, nobody := "ann", "bob", ""
	for i, assignee := range map[int]*string{1: &ann, 5: &ann, 6: &bob, 7: &bob} {
		all[i] = updateAlert(t, s, all[i].ID, store.AlertUpdate{Assignee: assignee, At: startTime})
	}
	all[7] = updateAlert(t, s, all[7].ID, store.AlertUpdate{Assignee: &nobody, At: startTime})
	for _, c := range []struct {
		name string
		q    store.AlertQuery
		want func(picket.Alert) bool
	}{
		{"all", store.AlertQuery{}, func(picket.Alert) bool { return true }},
		{"status", store.AlertQuery{Status: []picket.AlertStatus{picket.StatusOpen}}, func(a picket.Alert) bool { return a.Status == picket.StatusOpen }},
		{"closed", store.AlertQuery{Status: []picket.AlertStatus{picket.StatusResolved, picket.StatusFalsePositive}}, func(a picket.Alert) bool { return a.Status.Closed() }},
		{"level", store.AlertQuery{Level: []string{"high", "low"}}, func(a picket.Alert) bool { return a.Level == sigma.High || a.Level == sigma.Low }},
		{"status and level", store.AlertQuery{Status: []picket.AlertStatus{picket.StatusOpen, picket.StatusInvestigating, picket.StatusOpen}, Level: []string{"low", "informational", "low"}},
			func(a picket.Alert) bool { return a.Level <= sigma.Low && !a.Status.Closed() }},
		{"status of an agent", store.AlertQuery{Status: []picket.AlertStatus{picket.StatusOpen, picket.StatusResolved}, AgentID: "agent-0", Level: []string{"informational", "low"}},
			func(a picket.Alert) bool {
				return a.AgentID == "agent-0" && a.Level <= sigma.Low && (a.Status == picket.StatusOpen || a.Status == picket.StatusResolved)
			}},
		{"no such level", store.AlertQuery{Level: []string{"severe"}}, func(picket.Alert) bool { return false }},
		{"rule", store.AlertQuery{RuleID: "rule-1"}, func(a picket.Alert) bool { return a.RuleID == "rule-1" }},
		{"agent", store.AlertQuery{AgentID: "agent-1"}, func(a picket.Alert) bool { return a.AgentID == "agent-1" }},
		{"host", store.AlertQuery{Host: "host-0"}, func(a picket.Alert) bool { return a.Host == "host-0" }},
		{"assignee", store.AlertQuery{Assignee: &ann}, func(a picket.Alert) bool { return a.Assignee == "ann" }},
		{"no assignee", store.AlertQuery{Assignee: &nobody}, func(a picket.Alert) bool { return a.Assignee == "" }},
		{"assignee and status", store.AlertQuery{Assignee: &ann, Status: []picket.AlertStatus{picket.StatusOpen}},
			func(a picket.Alert) bool { return a.Assignee == "ann" && a.Status == picket.StatusOpen }},
		{"both", store.AlertQuery{Host: "host-0", AgentID: "agent-2"}, func(a picket.Alert) bool { return a.Host == "host-0" && a.AgentID == "agent-2" }},
		{"title", store.AlertQuery{Text: "üBEL 7"}, func(a picket.Alert) bool { return a.Title == "Übel 7" }},
		{"text of the rule", store.AlertQuery{Text: "ULE-2"}, func(a picket.Alert) bool { return a.RuleID == "rule-2" }},
		{"text of the host", store.AlertQuery{Text: "HOST-1"}, func(a picket.Alert) bool { return a.Host == "host-1" }},
		{"no wildcards", store.AlertQuery{Text: "%"}, func(picket.Alert) bool { return false }},
		{"since", store.AlertQuery{Since: all[4].LastSeen}, func(a picket.Alert) bool { return !a.LastSeen.Before(all[4].LastSeen) }},
		{"until", store.AlertQuery{Until: all[4].LastSeen}, func(a picket.Alert) bool { return a.LastSeen.Before(all[4].LastSeen) }},
	} {
		var want []string
		for i := len(all) - 1; i >= 0; i-- {
			if c.want(all[i]) {
				want = append(want, all[i].ID)
			}
		}
		var got []string
		for _, a := range listAlerts(t, s, c.q) {
			got = append(got, a.ID)
		}
		checkEqual(t, c.name, got, want)
	}
}

func testAlertPaging(t *testing.T, s store.Store) {
	all := saveTwelveAlerts(t, s)
	var got []string
	q := store.AlertQuery{Limit: 5}
	for n := 100; ; n++ {
		page := must[store.AlertPage](t)(s.Alerts(t.Context(), q))
		for _, a := range page.Alerts {
			got = append(got, a.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
		ev := plainEvents(t, n, n+1)
		save(t, s, store.Batch{ID: fmt.Sprint("later", n), Events: ev, Matches: []picket.Match{makeMatch("later", ev[0])}})
	}
	var want []string
	for i := len(all) - 1; i >= 0; i-- {
		want = append(want, all[i].ID)
	}
	checkEqual(t, "pages", got, want)

	got, want = nil, nil
	for q := (store.AlertQuery{Limit: 2, Status: []picket.AlertStatus{picket.StatusOpen, picket.StatusInvestigating}, Level: []string{"medium", "low", "informational"}}); ; {
		page := must[store.AlertPage](t)(s.Alerts(t.Context(), q))
		for _, a := range page.Alerts {
			got = append(got, a.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Level < sigma.High && !all[i].Status.Closed() {
			want = append(want, all[i].ID)
		}
	}
	checkEqual(t, "pages of statuses and levels", got, want)
}

func testAlertCounts(t *testing.T, s store.Store) {
	saveTwelveAlerts(t, s)
	evs := eventsOnOneHost(t, 50, 55)
	b := store.Batch{ID: "more", Events: evs}
	for _, ev := range evs {
		b.Matches = append(b.Matches, makeMatch("busy", ev))
	}
	a := save(t, s, b)[0].Opened[0]
	got := must[store.AlertCounts](t)(s.AlertCounts(t.Context()))
	want := store.AlertCounts{
		Total:    13,
		ByStatus: map[picket.AlertStatus]int64{picket.StatusOpen: 10, picket.StatusInvestigating: 1, picket.StatusResolved: 1, picket.StatusFalsePositive: 1},
		ByLevel: map[picket.AlertStatus]map[string]int64{
			picket.StatusOpen: {"low": 3, "medium": 3, "high": 4}, picket.StatusInvestigating: {"informational": 1},
			picket.StatusResolved: {"informational": 1}, picket.StatusFalsePositive: {"informational": 1},
		},
		Open: map[string]int64{"informational": 1, "low": 3, "medium": 3, "high": 4},
	}
	if len(got.TopRules) != 5 {
		t.Fatalf("top rules: %+v", got.TopRules)
	}
	checkEqual(t, "the top rule", got.TopRules[0], store.RuleCount{RuleID: "busy", Title: "Title of busy", Level: "high", Alerts: 1, Matches: 5})
	got.TopRules = nil
	checkEqual(t, "counts", got, want)

	closed := picket.StatusResolved
	updateAlert(t, s, a.ID, store.AlertUpdate{Status: &closed, At: startTime})
	got = must[store.AlertCounts](t)(s.AlertCounts(t.Context()))
	if got.ByStatus[picket.StatusResolved] != 2 || got.Open["high"] != 3 || len(got.TopRules) != 4 || got.TopRules[0].RuleID == "busy" {
		t.Errorf("after the alert of rule busy is closed: %+v", got)
	}
}
