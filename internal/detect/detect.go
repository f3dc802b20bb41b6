// Package detect runs the rule set in force over events: it maps each event to
// Sigma's fields, finds the rules of its logsources, and says which fired and
// why. The worker, `picket scan` and the benchmarks all call it.
//
// Promise: it is pure, without clock, network or disk (loading rules apart);
// rules are replaced without a pause, and a batch is detected on with one set
// of rules from beginning to end.
package detect

import (
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma"
)

// An Engine holds the rule set in force. It is safe for concurrent use.
type Engine struct {
	rules atomic.Pointer[sigma.RuleSet]
	log   *slog.Logger

	checked, wrong atomic.Int64
}

// checkEvery is how many events one is checked of, by evaluating every rule in
// full.
const checkEvery = 10_000

// Checks returns how many events were matched a second time, without the
// index, and how many of them came out otherwise. The second is 0 unless
// package sigma has an error.
func (e *Engine) Checks() (events, wrong int64) { return e.checked.Load(), e.wrong.Load() }

func (e *Engine) check(ev *picket.Event, group *sigma.RuleGroup, fired []*sigma.Rule) {
	e.checked.Add(1)
	want := group.MatchAll(ev.Fields, nil)
	if slices.Equal(want, fired) {
		return
	}
	e.wrong.Add(1)
	ids := func(rules []*sigma.Rule) (ids []string) {
		for _, r := range rules {
			ids = append(ids, r.ID)
		}
		return ids
	}
	e.log.Error("rules matched wrongly: please report the event and the rules", "event", ev.ID, "fired", ids(fired), "should", ids(want))
}

// NewEngine returns an engine running the rules. What it has to say goes to
// slog.Default.
func NewEngine(rules *sigma.RuleSet) *Engine {
	e := &Engine{log: slog.Default()}
	e.Replace(rules)
	return e
}

// Replace puts another rule set in force. Batches under way finish on the one
// they started with.
func (e *Engine) Replace(rules *sigma.RuleSet) { e.rules.Store(rules) }

// Rules returns the rule set in force.
func (e *Engine) Rules() *sigma.RuleSet { return e.rules.Load() }

// Detector returns a detector, which is for one goroutine at a time.
func (e *Engine) Detector() *Detector {
	return &Detector{engine: e, reader: normalize.NewReader(), matcher: sigma.NewMatcher()}
}

// A Detector detects on batches, one after another.
type Detector struct {
	engine  *Engine
	reader  *normalize.Reader
	matcher *sigma.Matcher

	rules  *sigma.RuleSet // that groups belong to
	groups map[*normalize.Class]*sigma.RuleGroup
	fired  []*sigma.Rule
	seen   int // events
	each   int // fields to expect of an event, by the last batch
}

// Detect fills the Fields of the events, and the Time and Host of those that
// come without, and returns their matches, in the order of the events. It fails on
// an event whose Raw is not one JSON object, naming it; intake lets none such
// through.
func (d *Detector) Detect(events []picket.Event) ([]picket.Match, error) {
	if rules := d.engine.Rules(); rules != d.rules {
		d.rules, d.groups = rules, make(map[*normalize.Class]*sigma.RuleGroup)
	}
	var matches []picket.Match
	// One array holds the fields of the whole batch; its size is guessed from
	// what the last batch's events had, so that it seldom grows.
	fields := make([]sigma.Field, 0, min(len(events)*max(d.each, fewFields), maxFields))
	for i := range events {
		ev := &events[i]
		doc, err := d.reader.Read(ev.Raw)
		if err != nil {
			return nil, fmt.Errorf("read event %s: %w", ev.ID, err)
		}
		if ev.Time.IsZero() {
			ev.Time = doc.Time
		}
		if ev.Host == "" {
			ev.Host = doc.Host
		}
		from := len(fields)
		fields = doc.Fields(fields)
		ev.Fields = fields[from:len(fields):len(fields)]
		group, ok := d.groups[doc.Class]
		if !ok {
			group = d.rules.Group(doc.Class.Sources...)
			d.groups[doc.Class] = group
		}
		d.fired = d.matcher.Match(group, ev.Fields, d.fired[:0])
		if d.seen++; d.seen%checkEvery == 0 {
			d.engine.check(ev, group, d.fired)
		}
		for _, rule := range d.fired {
			m := match(ev, rule.ID, rule.Title, rule.Level, rule.Tags, nil)
			if m.Silent = rule.CorrelationOnly(); !m.Silent {
				m.Why = rule.Explain(ev.Fields)
			}
			m.Observed = observed(ev, rule.CorrelationFields())
			matches = append(matches, m)
		}
		if v := doc.Alert; v != nil {
			matches = append(matches, match(ev, v.RuleID, v.Title, v.Level, v.Tags, nil))
		}
	}
	if len(events) > 0 {
		// Some more than the mean: room that is left costs less than growing.
		d.each = len(fields)/len(events)*9/8 + 1
	}
	return matches, nil
}

// fewFields is what an event is thought to have at the least, and maxFields
// the most that a batch is thought to have.
const (
	fewFields = 32
	maxFields = 1 << 19
)

func match(ev *picket.Event, ruleID, title string, level sigma.Level, tags []string, why []sigma.Evidence) picket.Match {
	return picket.Match{
		ID: picket.MatchID(ruleID, ev.ID), RuleID: ruleID, EventID: ev.ID, AgentID: ev.AgentID, Host: ev.Host,
		Time: ev.Time, Title: title, Level: level, Tags: tags, Why: why,
	}
}
