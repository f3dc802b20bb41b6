package correlate_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/correlate"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/detect/detecttest"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// manyThenOne has a correlation of three events of one host within a minute, and one
// of an event that another does not follow.
const manyThenOne = `
---
title: Many
id: 00000000-0000-4000-8000-00000000000a
name: many
level: high
correlation: {type: event_count, rules: [` + detecttest.RuleIDOne + `], group-by: [Computer], timespan: 1m, condition: {gte: 3}}
---
title: Alone
id: 00000000-0000-4000-8000-00000000000b
level: low
correlation: {type: temporal, rules: [` + detecttest.RuleIDOne + `, ` + detecttest.RuleIDTwo + `], group-by: [User], timespan: 1m, condition: ` + detecttest.RuleIDOne + ` and not ` + detecttest.RuleIDTwo + `}
`

// A deployment is an engine over a store. Tests set its clock and step its
// runners.
type deployment struct {
	*testing.T
	engine *detect.Engine
	store  *sqlitestore.Store
	now    time.Time
	n      int
}

func deploy(t *testing.T, correlations string) *deployment {
	d := &deployment{T: t, engine: detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")+"---\n"+detecttest.RuleMatching(detecttest.RuleIDTwo, "two")+correlations), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{Now: func() time.Time { return d.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d.store = s
	return d
}

// newRunner returns the runner of another process.
func (d *deployment) newRunner(name string) *correlate.Runner {
	return correlate.New(d.engine, d.store, name, slog.New(slog.DiscardHandler), func() time.Time { return d.now })
}

// event is one of a host at a second.
func (d *deployment) event(id, host, command string, at int) picket.Event {
	ev := detecttest.ProcessEvent(id, command)
	ev.Raw = bytes.Replace(ev.Raw, []byte(`"hostname":"host"`), []byte(`"hostname":"`+host+`"`), 1)
	ev.Host, ev.AgentID = host, "agent-of-"+host
	ev.Time = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(at) * time.Second)
	ev.Received = d.now
	return ev
}

// save is what a worker does with a batch.
func (d *deployment) save(events ...picket.Event) {
	d.Helper()
	matches, err := d.engine.NewDetector().Detect(events)
	if err != nil {
		d.Fatal(err)
	}
	d.n++
	if _, err := d.store.Save(d.Context(), store.Batch{ID: fmt.Sprint("batch ", d.n), Events: events, Matches: matches}); err != nil {
		d.Fatal(err)
	}
}

func (d *deployment) step(f *correlate.Runner) {
	d.Helper()
	if err := f.Step(d.Context()); err != nil {
		d.Fatal(err)
	}
}

// alerts are the alerts with the events of each.
func (d *deployment) alerts() []string {
	d.Helper()
	page, err := d.store.Alerts(d.Context(), store.AlertQuery{})
	if err != nil {
		d.Fatal(err)
	}
	var out []string
	for _, a := range page.Alerts {
		matches, err := d.store.Matches(d.Context(), store.MatchQuery{AlertID: a.ID})
		if err != nil {
			d.Fatal(err)
		}
		var events []string
		for _, m := range matches.Matches {
			events = append(events, m.EventID)
		}
		slices.Sort(events)
		out = append(out, fmt.Sprintf("%s %s on %s: %s", a.Level, a.Title, a.Host, strings.Join(events, " ")))
	}
	slices.Sort(out)
	return out
}

func (d *deployment) want(alerts ...string) {
	d.Helper()
	if diff := cmp.Diff(alerts, d.alerts()); diff != "" {
		d.Fatalf("alerts (-want +got):\n%s", diff)
	}
}

// Events of many batches, out of order and repeated, become one alert that lists
// all of them, even if runners die in between.
func TestRunner(t *testing.T) {
	d := deploy(t, manyThenOne)
	one, two := d.newRunner("one"), d.newRunner("two")
	d.save(d.event("a", "h1", "one", 30), d.event("b", "h2", "one", 31))
	d.step(one)
	d.step(two)
	d.save(d.event("c", "h1", "one", 10), d.event("a", "h1", "one", 30))
	d.step(one)
	d.want()
	d.now = d.now.Add(20 * time.Second) // the lease of the first has expired
	d.save(d.event("d", "h1", "one", 20), d.event("e", "h1", "one", 200))
	d.step(two)
	d.want("high Many on h1: a c d")
	d.save(d.event("f", "h1", "one", 35))
	d.now = d.now.Add(20 * time.Second)
	three := d.newRunner("three")
	d.step(three)
	d.want("high Many on h1: a c d f")
	d.now = d.now.Add(2 * time.Minute)
	d.step(three)
	d.want("high Many on h1: a c d f", "low Alone on h1: a b c d f")
	d.step(d.newRunner("four"))
	d.now = d.now.Add(2 * time.Minute)
	d.step(d.newRunner("five"))
	d.want("high Many on h1: a c d f", "low Alone on h1: a b c d e f")
}

// Events of two senders with the same id are two events to a correlation, and each
// match leads to its own.
func TestRunnerSameID(t *testing.T) {
	d := deploy(t, "\n---\ntitle: Many\nid: 00000000-0000-4000-8000-00000000000a\nlevel: high\n"+
		"correlation: {type: event_count, rules: ["+detecttest.RuleIDOne+"], group-by: [User], timespan: 1m, condition: {gte: 3}}\n")
	f := d.newRunner("f")
	var keys []string
	for i, host := range []string{"h1", "h2", "h3"} {
		ev := d.event("same", host, "one", i)
		ev.Sender = "agent:" + ev.AgentID
		keys = append(keys, ev.Key())
		d.save(ev)
		d.step(f)
	}
	d.want("high Many on h3: same same same")
	page, err := d.store.Matches(t.Context(), store.MatchQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range page.Matches {
		got = append(got, m.EventKey())
		if m.ID != picket.MatchID(m.RuleID, m.EventKey()) {
			t.Errorf("match is %+v", m)
		}
	}
	slices.Sort(got)
	slices.Sort(keys)
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Errorf("events of matches (-want +got):\n%s", diff)
	}
}

// An alert over several hosts is one alert.
func TestRunnerOverHosts(t *testing.T) {
	d := deploy(t, "\n---\ntitle: Spread\nid: 00000000-0000-4000-8000-00000000000c\nlevel: critical\n"+
		"correlation: {type: value_count, rules: ["+detecttest.RuleIDOne+"], group-by: [User], timespan: 1m, condition: {field: Computer, gte: 3}}\n")
	f := d.newRunner("f")
	for i, host := range []string{"h1", "h2", "h3", "h4"} {
		d.save(d.event(host, host, "one", i))
		d.step(f)
	}
	d.want("critical Spread on h3: h1 h2 h3 h4")
	page, err := d.store.Matches(t.Context(), store.MatchQuery{EventID: "h1"})
	if err != nil || len(page.Matches) != 1 || page.Matches[0].AgentID != "agent-of-h1" || len(page.Matches[0].Why) != 1 {
		t.Errorf("match is %+v, %v", page.Matches, err)
	}
}

// Rules that change while a runner works apply at once, to the observations kept.
// A rule without correlations raises alerts of its own again.
func TestRunnerReload(t *testing.T) {
	d := deploy(t, manyThenOne)
	f := d.newRunner("f")
	d.save(d.event("a", "h1", "one", 1), d.event("b", "h1", "one", 2))
	d.step(f)
	d.engine.ReplaceRules(detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")+"---\n"+detecttest.RuleMatching(detecttest.RuleIDTwo, "two")+strings.ReplaceAll(manyThenOne, "gte: 3", "gte: 2")).Rules())
	d.save(d.event("c", "h1", "one", 3))
	d.step(f)
	d.want("high Many on h1: a b c")
	d.engine.ReplaceRules(detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")).Rules())
	d.save(d.event("e", "h1", "one", 4))
	d.step(f)
	d.want("high Many on h1: a b c", "high one on h1: e")
	if f.KeptObservations() != 0 {
		t.Errorf("%d are kept", f.KeptObservations())
	}
}
