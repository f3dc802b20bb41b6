package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// The golden store is a small store with an example of everything that a store
// holds. Engines have files of it under testdata that an earlier version of
// picket wrote: CheckGolden says whether they are still read as what FillGolden
// saved. GoldenTime is the clock of the stores that write and read it.
var GoldenTime = time.Date(2026, 8, 1, 12, 30, 0, 123456000, time.UTC)

// GoldenEvents returns the events of the golden store in the order in which
// they are saved.
func GoldenEvents(t testing.TB) []picket.Event {
	evs := eventsOnOneHost(t, 0, 30)
	for i := range evs {
		evs[i].ID = fmt.Sprintf("01234567-89ab-4cde-8f01-%012x", i)
	}
	str := func(name, v string) sigma.Field {
		return sigma.Field{Name: name, Value: sigma.Value{Kind: sigma.String, Text: v}}
	}
	evs = append(evs, unusualEvents(t)...)
	at := startTime.Add(time.Minute)
	return append(evs,
		picket.Event{ID: "odd \x00 id ☃", AgentID: "b", Host: "H2", Type: "network", OS: "windows", Time: at.Add(time.Microsecond), Received: at.Add(999 * time.Microsecond),
			Raw: []byte(`{"a":1,"b":null,"c":true,"d":"x"}`), Fields: []sigma.Field{
				{Name: "Number", Value: sigma.Value{Kind: sigma.Number, Text: "1.50"}}, {Name: "Bool", Value: sigma.Value{Kind: sigma.Bool, Text: "false"}},
				{Name: "Null"}, str("String", "not in the event"), str("d", "x"), {Name: "Renamed", Value: sigma.Value{Kind: sigma.Bool, Text: "true"}}}},
		picket.Event{ID: "latin1", AgentID: "b", Host: "H2", Type: "network", Time: at, Received: at, Raw: []byte("{\"name\":\"M\xfcller\"}")},
		makeEvent(t, 100, `{"n":100}`), makeEvent(t, 101, `{"n":101}`), makeEvent(t, 102, `{"n":102}`))
}

// FillGolden makes an empty store the golden store.
func FillGolden(t testing.TB, s store.Store) {
	t.Helper()
	FillGoldenWithoutLastBatches(t, s)
	save(t, s, GoldenBatchesSavedLast(t)...)
}

// FillGoldenWithoutLastBatches is FillGolden without the batches saved last.
func FillGoldenWithoutLastBatches(t testing.TB, s store.Store) {
	t.Helper()
	evs := GoldenEvents(t)
	n := len(evs)
	opened := save(t, s, store.Batch{ID: "golden-1", Events: evs[:30], Matches: []picket.Match{makeMatch("rule-a", evs[0]), makeMatch("rule-a", evs[1]), withLowLevel(makeMatch("rule-b", evs[2]))}})[0].Opened
	investigating, resolved, ann := picket.StatusInvestigating, picket.StatusResolved, "ann"
	updateAlert(t, s, opened[0].ID, store.AlertUpdate{Status: &investigating, Assignee: &ann, Note: "looking", Author: "bob", At: GoldenTime})
	updateAlert(t, s, opened[1].ID, store.AlertUpdate{Status: &resolved, Author: "bob", At: GoldenTime})
	fillGoldenAccounts(t, s)
	save(t, s, store.Batch{ID: "golden-2", Events: evs[30 : n-3]})
	save(t, s, store.Batch{ID: "golden-3", Events: evs[n-3 : n-2], Matches: []picket.Match{makeObservedMatch("loud", evs[n-3], false), makeObservedMatch("silent", evs[n-3], true)}})
	fillGoldenCorrelations(t, s)
}

// GoldenBatchesSavedLast are those that FillGolden saves last.
func GoldenBatchesSavedLast(t testing.TB) []store.Batch {
	evs := GoldenEvents(t)
	n := len(evs)
	onB := withLowLevel(makeMatch("rule-b", evs[n-1]))
	onB.AgentID, onB.Host = "agent", "host"
	onA := makeMatch("rule-a", evs[n-1])
	onA.AgentID, onA.Host = "agent", "host"
	return []store.Batch{
		{ID: "golden-4", Events: evs[n-2 : n-1], Matches: []picket.Match{makeObservedMatch("silent", evs[n-2], true)}},
		{ID: "golden-5", Events: append(evs[:5:5], evs[n-1]), Matches: []picket.Match{onB, onA}},
	}
}

func withLowLevel(m picket.Match) picket.Match {
	m.Level = sigma.Low
	return m
}

// correlationMatch is the match of a correlation.
func correlationMatch(ev picket.Event) picket.Match {
	m := makeMatch("corr", ev)
	m.Host, m.AlertAgent = "one", "agent-x"
	return m
}

func fillGoldenCorrelations(t testing.TB, s store.Store) {
	t.Helper()
	if ok, err := s.AcquireCorrelationLease(t.Context(), "holder", time.Hour); !ok || err != nil {
		t.Fatalf("lease: %t, %v", ok, err)
	}
	_, offset, err := s.Observations(t.Context(), 0, 1)
	testenv.Check(t, err)
	_, err = s.CommitCorrelations(t.Context(), "holder", store.CorrelationCommit{Offset: offset, State: []byte("state"), Matches: []picket.Match{correlationMatch(GoldenEvents(t)[0])}})
	testenv.Check(t, err)
}

// goldenAccounts are the accounts of the golden store, and its published rules and
// workers.
var goldenAccounts = struct {
	tokens  []store.Token
	users   []store.User
	session store.Session
	audit   []store.AuditEntry
	rules   store.PublishedRules
	workers []store.Worker
}{
	tokens: []store.Token{
		{ID: "t1", Hash: "hash1", Kind: "agent", Subject: "agent-1", Created: startTime},
		{ID: "t2", Hash: "hash2", Kind: "api", Subject: "ci", Role: "viewer", Created: startTime.Add(time.Second), Revoked: startTime.Add(time.Hour)},
	},
	users: []store.User{
		{Name: "ann", PasswordHash: "h1", Role: "admin", Created: startTime},
		{Name: "bob", PasswordHash: "h2", Role: "viewer", Disabled: true, Created: startTime.Add(time.Microsecond)},
	},
	session: store.Session{Hash: "s1", User: "ann", Created: startTime, Expires: startTime.Add(time.Hour)},
	audit: []store.AuditEntry{
		{Time: startTime.Add(time.Second), Actor: "ann", Action: "sign-in", Object: "ann"},
		{Time: startTime, Actor: "bob", Action: "alert.update", Object: "x", Detail: "y"},
	},
	rules: store.PublishedRules{Version: "v1", Bundle: []byte("bundle \x00\xff"), Published: startTime},
	workers: []store.Worker{
		{ID: "w1", Host: "h1", Version: "1", RulesRevision: "r1", Concurrency: 2, Started: startTime, LastSeen: startTime.Add(time.Minute), Events: 5},
		{ID: "w2", Host: "h2", Version: "2", RulesRevision: "r2", Concurrency: 4, Started: startTime, LastSeen: startTime.Add(2 * time.Minute)},
	},
}

func fillGoldenAccounts(t testing.TB, s store.Store) {
	t.Helper()
	ctx, a := t.Context(), goldenAccounts
	for _, tok := range a.tokens {
		testenv.Check(t, s.AddToken(ctx, tok))
	}
	for _, u := range a.users {
		testenv.Check(t, s.AddUser(ctx, u))
	}
	testenv.Check(t, s.AddSession(ctx, a.session))
	for i := len(a.audit) - 1; i >= 0; i-- {
		must[store.AuditEntry](t)(s.AddAuditEntry(ctx, a.audit[i]))
	}
	testenv.Check(t, s.PublishRules(ctx, a.rules))
	for _, w := range a.workers {
		testenv.Check(t, s.ReportWorker(ctx, w))
	}
}

// CheckGolden says what in a store is not as FillGolden saved it.
func CheckGolden(t *testing.T, s store.Store) {
	t.Helper()
	checkGoldenEvents(t, s)
	checkGoldenAlerts(t, s)
	checkGoldenCounters(t, s)
	checkGoldenCorrelations(t, s)
	checkGoldenAccounts(t, s)
	checkEqual(t, "the batches again", save(t, s, GoldenBatchesSavedLast(t)...), []store.SaveResult{{DuplicateBatch: true}, {DuplicateBatch: true}})
}

func checkGoldenEvents(t *testing.T, s store.Store) {
	t.Helper()
	evs := GoldenEvents(t)
	got := searchAll(t, s, store.EventQuery{})
	want := make([]picket.Event, 0, len(evs))
	for i := len(evs) - 1; i >= 0; i-- {
		want = append(want, evs[i])
	}
	checkEqual(t, "events", got, want)
	for i := 0; i < len(queryTexts); i += 9 {
		where, err := store.ParseQuery(queryTexts[i])
		testenv.Check(t, err)
		checkEqual(t, queryTexts[i], eventIDs(searchAll(t, s, store.EventQuery{Where: where})), evaluateQuery(evs, where))
	}
	checkEqual(t, "event", must[picket.Event](t)(s.Event(t.Context(), store.EventSelector{ID: evs[7].ID})), evs[7])
}

func checkGoldenAlerts(t *testing.T, s store.Store) {
	t.Helper()
	evs := GoldenEvents(t)
	first, last, loud := evs[0].Time, evs[len(evs)-1].Time, evs[len(evs)-3]
	alert := func(m picket.Match, agent, host string, count int64, seen time.Time) picket.Alert {
		return picket.Alert{ID: picket.AlertID(m.ID), RuleID: m.RuleID, Title: m.Title, Level: m.Level, Tags: m.Tags, AgentID: agent, Host: host,
			Status: picket.StatusOpen, Count: count, FirstSeen: m.Time, LastSeen: seen, Opened: GoldenTime, Updated: GoldenTime}
	}
	onA := alert(makeMatch("rule-a", evs[0]), "agent", "host", 3, last)
	onA.Status, onA.Assignee = picket.StatusInvestigating, "ann"
	onA.Notes = []picket.Note{{Time: GoldenTime, Author: "bob", Text: "status: open → investigating"}, {Time: GoldenTime, Author: "bob", Text: "assignee: nobody → ann"},
		{Time: GoldenTime, Author: "bob", Text: "looking"}}
	closed := alert(withLowLevel(makeMatch("rule-b", evs[2])), "agent", "host", 1, evs[2].Time)
	closed.Status = picket.StatusResolved
	closed.Notes = []picket.Note{{Time: GoldenTime, Author: "bob", Text: "status: open → resolved"}}
	want := []picket.Alert{alert(withLowLevel(makeMatch("rule-b", evs[len(evs)-1])), "agent", "host", 1, last), onA,
		alert(makeMatch("loud", loud), loud.AgentID, loud.Host, 1, loud.Time), closed, alert(correlationMatch(evs[0]), "agent-x", "one", 1, first)}
	checkEqual(t, "alerts", listAlerts(t, s, store.AlertQuery{}), want)
	checkEqual(t, "alerts by text", listAlerts(t, s, store.AlertQuery{Text: "LOUD"}), want[2:3])

	var got []string
	for _, m := range must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{})).Matches {
		got = append(got, m.RuleID+" "+m.EventID+" "+m.AlertID)
		checkEqual(t, "evidence", m.Why, []sigma.Evidence{{Field: "name", Value: "x"}})
	}
	id := func(rule string, ev picket.Event, a picket.Alert) string { return rule + " " + ev.ID + " " + a.ID }
	checkEqual(t, "matches", got, []string{id("rule-a", evs[len(evs)-1], want[1]), id("rule-b", evs[len(evs)-1], want[0]), id("corr", evs[0], want[4]),
		id("loud", loud, want[2]), id("rule-b", evs[2], want[3]), id("rule-a", evs[1], want[1]), id("rule-a", evs[0], want[1])})
	counts := must[store.AlertCounts](t)(s.AlertCounts(t.Context()))
	checkEqual(t, "counts", counts.ByLevel, map[picket.AlertStatus]map[string]int64{
		picket.StatusOpen: {"high": 2, "low": 1}, picket.StatusInvestigating: {"high": 1}, picket.StatusResolved: {"low": 1}})
	checkEqual(t, "the top rule", counts.TopRules[0], store.RuleCount{RuleID: "rule-a", Title: "Title of rule-a", Level: "high", Alerts: 1, Matches: 3})
}

func checkGoldenCounters(t *testing.T, s store.Store) {
	t.Helper()
	evs := GoldenEvents(t)
	want := store.Totals{Stored: int64(len(evs)), Events: int64(len(evs)), Duplicate: 5, Matches: 7}
	events := make(map[time.Time]map[string]int64)
	for _, ev := range evs {
		want.RawBytes += int64(len(ev.Raw))
		at := ev.Received.Truncate(time.Minute)
		if events[at] == nil {
			events[at] = make(map[string]int64)
		}
		events[at][ev.Type]++
	}
	got := must[store.Totals](t)(s.Totals(t.Context()))
	got.DiskBytes = 0
	checkEqual(t, "totals", got, want)
	opened := make(map[string]int64)
	for _, m := range must[[]store.MinuteCounts](t)(s.Activity(t.Context(), time.Time{}, time.Time{})) {
		checkEqual(t, "events of "+m.Start.String(), m.Events, events[m.Start])
		delete(events, m.Start)
		if len(m.Alerts) > 0 {
			checkEqual(t, "the minute of alerts", m.Start, GoldenTime.Truncate(time.Minute))
			opened = m.Alerts
		}
	}
	checkEqual(t, "minutes not listed", len(events), 0)
	checkEqual(t, "alerts opened", opened, map[string]int64{"high": 3, "low": 2})
	checkEqual(t, "hosts", mergeByName(must[store.HostPage](t)(s.Hosts(t.Context(), "", 0, "")).Hosts), goldenHosts(t))
	checkEqual(t, "hosts by name", must[store.HostPage](t)(s.Hosts(t.Context(), "h2", 0, "")).Hosts[0].OS, "windows")
}

// mergeByName merges the hosts of one name, the newest LastSeen first: earlier versions
// did not keep those of several agents apart.
func mergeByName(hosts []store.Host) []store.Host {
	var merged []store.Host
	for _, h := range hosts {
		i := slices.IndexFunc(merged, func(m store.Host) bool { return m.Name == h.Name })
		if i < 0 {
			merged = append(merged, h)
			continue
		}
		m := &merged[i]
		m.Events += h.Events
		m.Alerts += h.Alerts
		if h.FirstSeen.Before(m.FirstSeen) {
			m.FirstSeen = h.FirstSeen
		}
	}
	return merged
}

// goldenHosts returns the hosts of the golden store by name, newest LastSeen first.
func goldenHosts(t *testing.T) []store.Host {
	evs := GoldenEvents(t)
	loudHost := evs[len(evs)-3].Host // of the alert of rule loud
	slices.SortStableFunc(evs, func(a, b picket.Event) int { return a.Received.Compare(b.Received) })
	var hosts []store.Host
	for _, ev := range evs {
		i := slices.IndexFunc(hosts, func(h store.Host) bool { return h.Name == ev.Host })
		if i < 0 {
			i = len(hosts)
			hosts = append(hosts, store.Host{Name: ev.Host, FirstSeen: ev.Received})
		}
		h := &hosts[i]
		h.AgentID, h.LastSeen = ev.AgentID, ev.Received
		if ev.OS != "" {
			h.OS = ev.OS
		}
		h.Events++
	}
	for i := range hosts {
		hosts[i].Alerts = map[string]int64{"host": 2, loudHost: 1}[hosts[i].Name]
	}
	slices.SortFunc(hosts, func(a, b store.Host) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), strings.Compare(b.Name, a.Name))
	})
	return hosts
}

func checkGoldenCorrelations(t *testing.T, s store.Store) {
	t.Helper()
	evs := GoldenEvents(t)
	n := len(evs)
	observation := func(rule string, ev picket.Event) store.Observation {
		return store.Observation{RuleID: rule, EventID: ev.ID, AgentID: ev.AgentID, Host: ev.Host, Time: ev.Time, Fields: map[string]string{"User": "u"}, Arrived: GoldenTime}
	}
	all, _, err := s.Observations(t.Context(), 0, 10)
	testenv.Check(t, err)
	if len(all) != 3 {
		t.Fatalf("%d observations, want 3", len(all))
	}
	checkEqual(t, "observations", all, []store.Observation{observation("loud", evs[n-3]), observation("silent", evs[n-3]), observation("silent", evs[n-2])})
	offset, state, err := s.CorrelationCheckpoint(t.Context())
	testenv.Check(t, err)
	checkEqual(t, "state", string(state), "state")
	later, _, err := s.Observations(t.Context(), offset, 10)
	testenv.Check(t, err)
	checkEqual(t, "later observations", later, all[2:])
	if ok, err := s.AcquireCorrelationLease(t.Context(), "other", time.Hour); ok || err != nil {
		t.Errorf("another holder has the lease: %t, %v", ok, err)
	}
	if ok, err := s.AcquireCorrelationLease(t.Context(), "holder", time.Hour); !ok || err != nil {
		t.Errorf("the holder has lost its lease: %t, %v", ok, err)
	}
}

func checkGoldenAccounts(t *testing.T, s store.Store) {
	t.Helper()
	ctx, want := t.Context(), goldenAccounts
	checkEqual(t, "tokens", must[[]store.Token](t)(s.Tokens(ctx)), want.tokens)
	checkEqual(t, "token", must[store.Token](t)(s.TokenByHash(ctx, "hash1")), want.tokens[0])
	checkEqual(t, "users", must[[]store.User](t)(s.Users(ctx)), want.users)
	checkEqual(t, "session", must[store.Session](t)(s.Session(ctx, "s1", startTime)), want.session)
	audit := must[[]store.AuditEntry](t)(s.AuditEntries(ctx, store.AuditQuery{}))
	for i := range audit { // stores of earlier versions have no chain
		audit[i].N, audit[i].Previous, audit[i].Hash = 0, "", ""
	}
	checkEqual(t, "audit", audit, want.audit)
	checkEqual(t, "rules", must[store.PublishedRules](t)(s.PublishedRules(ctx, "")), want.rules)
	checkEqual(t, "workers", must[[]store.Worker](t)(s.Workers(ctx, startTime)), want.workers)
}
