package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// floodBatch returns a batch of events with a match each, of rules of their own.
func floodBatch(t *testing.T, id string, lo, hi int, change func(n int, ev *picket.Event)) store.Batch {
	b := store.Batch{ID: id, Events: plainEvents(t, lo, hi)}
	for i := range b.Events {
		ev := &b.Events[i]
		ev.Sender, ev.AgentID, ev.Host = "agent:web-1", "web-1", "web-1"
		change(lo+i, ev)
		b.Matches = append(b.Matches, makeMatch(fmt.Sprint("rule", lo+i), *ev))
	}
	return b
}

// testAgentQuota checks that the events of an agent open a bounded number of alerts in a
// minute, and that one more has the other matches.
func testAgentQuota(t *testing.T, s store.Store) {
	const further = 20
	b := floodBatch(t, "b1", 0, QuotaOfAlerts+further, func(n int, ev *picket.Event) { ev.Host = fmt.Sprint("host-", n%3) })
	saved := save(t, s, b)[0]
	if saved.Matches != len(b.Matches) || len(saved.Opened) != QuotaOfAlerts+1 {
		t.Fatalf("%d new matches, %d alerts opened", saved.Matches, len(saved.Opened))
	}
	gathered := listAlerts(t, s, store.AlertQuery{RuleID: store.AlertQuotaRule})
	if len(gathered) != 1 || gathered[0].Count != further || gathered[0].AgentID != "web-1" || gathered[0].Host != store.SeveralHosts || gathered[0].Title == "" {
		t.Fatalf("gathering alerts: %+v", gathered)
	}
	matches := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{AlertID: gathered[0].ID})).Matches
	if len(matches) != further || matches[0].RuleID == store.AlertQuotaRule || matches[0].EventID != b.Events[len(b.Events)-1].ID {
		t.Errorf("%d matches in it, the first is %+v", len(matches), matches)
	}
	last := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{RuleID: b.Matches[len(b.Matches)-1].RuleID})).Matches
	if len(last) != 1 || last[0].AlertID != gathered[0].ID {
		t.Errorf("matches of the last rule: %+v", last)
	}

	// Neither a redelivered batch nor events that are sent again change anything.
	checkSame := func(what string) {
		t.Helper()
		got := listAlerts(t, s, store.AlertQuery{RuleID: store.AlertQuotaRule})
		checkEqual(t, what, got, gathered)
		if total := must[store.AlertCounts](t)(s.AlertCounts(t.Context())).Total; total != QuotaOfAlerts+1 {
			t.Errorf("%s: %d alerts", what, total)
		}
		if n := must[store.Totals](t)(s.Totals(t.Context())).Matches; n != int64(len(b.Matches)) {
			t.Errorf("%s: %d matches in all", what, n)
		}
	}
	checkSame("first")
	save(t, s, b)
	checkSame("redelivered")
	b.ID = "b2"
	save(t, s, b)
	checkSame("sent again")

	// Other agents have quotas of their own, and matches join alerts that are open.
	b = floodBatch(t, "b3", 1000, 1000+QuotaOfAlerts, func(n int, ev *picket.Event) { ev.Sender, ev.AgentID = "agent:web-2", "web-2" })
	if saved := save(t, s, b)[0]; len(saved.Opened) != len(b.Matches) {
		t.Errorf("another agent opened %d alerts of %d", len(saved.Opened), len(b.Matches))
	}
	b = floodBatch(t, "b4", 2000, 2001, func(n int, ev *picket.Event) { ev.Host = "host-0" })
	b.Matches[0] = makeMatch("rule0", b.Events[0])
	if saved := save(t, s, b)[0]; saved.Matches != 1 || len(saved.Opened) != 0 {
		t.Errorf("a match of an open alert: %+v", saved)
	}

	closed := picket.StatusResolved
	updateAlert(t, s, gathered[0].ID, store.AlertUpdate{Status: &closed, At: startTime})
	counts := must[store.AlertCounts](t)(s.AlertCounts(t.Context()))
	if counts.ByStatus[closed] != 1 {
		t.Errorf("counts after closing the gathering alert: %+v", counts)
	}
}

// testMatchQuota checks that a bounded number of matches of an agent are stored in a
// minute, and that all are counted.
func testMatchQuota(t *testing.T, s store.Store) {
	limit := QuotaOfAlerts * store.MatchQuotaBytesPerAlert
	b := floodBatch(t, "b1", 0, 100, func(n int, ev *picket.Event) {})
	for i := range b.Matches {
		limit += store.MatchBytesPerEventByte * len(b.Events[i].Raw)
		b.Matches[i] = makeMatch(fmt.Sprint("rule", i%2), b.Events[i])
		b.Matches[i].Why[0].Value = strings.Repeat("x", 8<<10)
	}
	if saved := save(t, s, b)[0]; saved.Matches != len(b.Matches) || len(saved.Opened) != 2 {
		t.Errorf("%d new matches, %d alerts opened", saved.Matches, len(saved.Opened))
	}
	save(t, s, b)
	b.ID = "b2"
	save(t, s, b)
	count, bytes := int64(0), 0
	for _, a := range listAlerts(t, s, store.AlertQuery{}) {
		count += a.Count
	}
	matches := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{Limit: 1000})).Matches
	for i := range matches {
		bytes += store.MatchSize(&matches[i])
	}
	if count != int64(len(b.Matches)) || bytes > limit || bytes < limit-10<<10 {
		t.Errorf("%d matches counted, %d with %d bytes stored", count, len(matches), bytes)
	}
}

// testSenderAlertQuota checks that a sender of many agents opens a bounded number of alerts,
// and makes a bounded number of hosts.
func testSenderAlertQuota(t *testing.T, s store.Store) {
	const perSender, further = store.SenderQuotaFactor * QuotaOfAlerts, 20
	b := floodBatch(t, "b1", 0, perSender+further, func(n int, ev *picket.Event) {
		name := fmt.Sprint("agent", n)
		ev.Sender, ev.AgentID, ev.Host = "collector:fluentd", name, name
	})
	if saved := save(t, s, b)[0]; saved.Matches != perSender+further || len(saved.Opened) != perSender+1 {
		t.Errorf("%d new matches, %d alerts opened", saved.Matches, len(saved.Opened))
	}
	gathered := listAlerts(t, s, store.AlertQuery{RuleID: store.AlertQuotaRule})
	if len(gathered) != 1 || gathered[0].Count != further || gathered[0].AgentID != "collector:fluentd" {
		t.Errorf("gathering alerts: %+v", gathered)
	}
	total, _, err := s.CountHosts(t.Context(), time.Time{})
	if err != nil || total != perSender {
		t.Errorf("%d hosts (%v), want %d", total, err, perSender)
	}
	if n := len(searchAll(t, s, store.EventQuery{})); n != len(b.Events) {
		t.Errorf("%d events, want %d", n, len(b.Events))
	}
	// Another sender adds the hosts that were left out, with their open alerts.
	b2 := floodBatch(t, "b2", 5000, 5000+len(b.Events), func(n int, ev *picket.Event) { ev.Host, ev.AgentID = b.Events[n-5000].Host, b.Events[n-5000].AgentID })
	b2.Matches = nil
	save(t, s, b2)
	if total, _, err := s.CountHosts(t.Context(), time.Time{}); err != nil || total != int64(len(b.Events)) {
		t.Errorf("%d hosts (%v), want %d", total, err, len(b.Events))
	}
	open := int64(0)
	for _, ev := range b.Events {
		open += must[store.Host](t)(s.Host(t.Context(), store.HostKey{AgentID: ev.AgentID, Name: ev.Host})).Alerts
	}
	if open != perSender {
		t.Errorf("hosts have %d open alerts, want %d", open, perSender)
	}
}
