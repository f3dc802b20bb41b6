// Package detect is the detection engine: it maps each event to Sigma's fields,
// selects the rules of its logsources, and returns which rules match and why.
// Workers, picket scan and the benchmarks use it.
//
// Promise: it is pure. It uses no store, clock, network or disk. Rules are replaced
// without a pause, and a batch is evaluated with one set of rules.
package detect

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma"
)

// An Engine holds the rules. It is safe for concurrent use.
type Engine struct {
	rules      atomic.Pointer[sigma.RuleSet]
	onMismatch func(Mismatch)

	trimsWindowsValues bool

	checked, mismatches atomic.Int64
}

// A Mismatch is a failed self-check: for an event, the index found other rules than
// the full evaluation of all rules. It is an error in package sigma.
type Mismatch struct {
	EventID  string
	Index    []string // ids of the rules that the index found
	Expected []string // ids of the rules that match
}

// eventsPerSelfCheck is how many events there are to a self-check, which evaluates
// every rule in full.
const eventsPerSelfCheck = 10_000

// SelfChecks returns how many self-checks were made, and how many of them failed.
func (e *Engine) SelfChecks() (made, failed int64) { return e.checked.Load(), e.mismatches.Load() }

// selfCheck compares the rules that the index found with a full evaluation.
func (e *Engine) selfCheck(eventID string, group *sigma.RuleGroup, fields []sigma.Field, fired []*sigma.Rule) {
	e.checked.Add(1)
	want := group.MatchAll(fields, nil)
	if slices.Equal(want, fired) {
		return
	}
	e.mismatches.Add(1)
	ids := func(rules []*sigma.Rule) (ids []string) {
		for _, r := range rules {
			ids = append(ids, r.ID)
		}
		return ids
	}
	if e.onMismatch != nil {
		e.onMismatch(Mismatch{EventID: eventID, Index: ids(fired), Expected: ids(want)})
	}
}

// NewEngine returns an engine with the rules. It calls onMismatch, if not nil, for
// each self-check that fails.
func NewEngine(rules *sigma.RuleSet, onMismatch func(Mismatch)) *Engine {
	e := &Engine{onMismatch: onMismatch}
	e.ReplaceRules(rules)
	return e
}

// ReplaceRules replaces the rules. A batch that is being evaluated keeps the old ones.
func (e *Engine) ReplaceRules(rules *sigma.RuleSet) { e.rules.Store(rules) }

// Rules returns the current rules.
func (e *Engine) Rules() *sigma.RuleSet { return e.rules.Load() }

// TrimWindowsValues makes detectors ignore blanks at the end of the values of Windows
// events. Call it before NewDetector.
func (e *Engine) TrimWindowsValues() { e.trimsWindowsValues = true }

// NewDetector returns a new detector, which is for one goroutine.
func (e *Engine) NewDetector() *Detector {
	return &Detector{engine: e, reader: normalize.NewReader(), matcher: sigma.NewMatcher()}
}

// A Detector evaluates batches. It is for one goroutine.
type Detector struct {
	engine  *Engine
	reader  *normalize.Reader
	matcher *sigma.Matcher

	rules          *sigma.RuleSet // of groups
	groups         map[*normalize.Class]ruleGroup
	fired          []*sigma.Rule
	events         int // events
	fieldsPerEvent int // mean of the last batch, rounded up
}

// A ruleGroup is the rules for a class.
type ruleGroup struct {
	*sigma.RuleGroup
	usesHost bool // a rule refers to normalize.HostField
}

// group returns the rules for a class.
func (d *Detector) group(class *normalize.Class) ruleGroup {
	g, ok := d.groups[class]
	if !ok {
		if len(d.groups) >= maxGroups {
			clear(d.groups)
		}
		g.RuleGroup = d.rules.Group(class.Sources...)
		g.usesHost = g.UsesField(normalize.HostField)
		d.groups[class] = g
	}
	return g
}

// appendHost appends normalize.HostField to an event's fields, without any that the event
// itself has under that name.
func appendHost(fields []sigma.Field, host string) []sigma.Field {
	isHost := func(f sigma.Field) bool { return f.Name == normalize.HostField }
	if slices.ContainsFunc(fields, isHost) {
		fields = slices.DeleteFunc(slices.Clone(fields), isHost)
	}
	return append(fields, sigma.Field{Name: normalize.HostField, Value: sigma.Value{Kind: sigma.String, Text: host}})
}

// Detect sets the Fields of the events, and the Time and Host of events without
// them, and returns the matches in the order of the events. An event whose Raw is
// not one JSON object is an error that names it; the intake accepts none. The error
// is picket.ErrTooManyMatches if the matches of several events take too much memory.
func (d *Detector) Detect(events []picket.Event) ([]picket.Match, error) {
	defer d.reader.DropReferences()
	if rules := d.engine.Rules(); rules != d.rules {
		d.rules, d.groups = rules, make(map[*normalize.Class]ruleGroup)
	}
	var matches []picket.Match
	cost := 0 // of matches
	// One array holds the fields of the whole batch. Its size is estimated from the
	// last batch, so that it rarely grows.
	fields := make([]sigma.Field, 0, min(len(events)*max(d.fieldsPerEvent, minFieldsPerEvent), maxPreallocatedFields))
	for i := range events {
		ev := &events[i]
		doc, err := d.reader.ReadOfType(ev.Raw, ev.Type)
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
		if d.engine.trimsWindowsValues && doc.Class.OS == "windows" {
			trimBlanks(fields[from:])
		}
		ev.Fields = fields[from:len(fields):len(fields)]
		group, seen := d.group(doc.Class), fields[from:]
		if group.usesHost {
			seen = appendHost(seen, ev.Host)
		}
		d.fired = d.matcher.Match(group.RuleGroup, seen, d.fired[:0])
		if d.events++; d.events%eventsPerSelfCheck == 0 {
			d.engine.selfCheck(ev.ID, group.RuleGroup, seen, d.fired)
		}
		namespace := ""
		if len(d.fired) > 0 || doc.Alert != nil {
			namespace = ev.Namespace()
		}
		for _, rule := range d.fired {
			m := newMatch(ev, namespace, rule.ID, rule.Title, rule.Level, rule.Tags, nil)
			if m.CorrelationOnly = rule.CorrelationOnly(); !m.CorrelationOnly {
				m.Why = shortenEvidence(withDecodedCommands(rule.Explain(seen)))
			}
			m.Observed = correlationFieldValues(ev, rule.CorrelationFields())
			matches = append(matches, m)
			cost += matchMemoryBytes(&m)
		}
		if v := doc.Alert; v != nil && !d.rules.IsDisabled(v.RuleID) {
			matches = append(matches, newMatch(ev, namespace, v.RuleID, v.Title, v.Level, v.Tags, nil))
		}
		if i > 0 && cost > maxMatchesMemoryBytes {
			return nil, fmt.Errorf("%d matches of %d events: %w", len(matches), i+1, picket.ErrTooManyMatches)
		}
	}
	if len(events) > 0 {
		// Somewhat more than the mean: unused space is cheaper than growing.
		d.fieldsPerEvent = len(fields)/len(events)*9/8 + 1
	}
	return matches, nil
}

// trimBlanks cuts blanks at the end of values.
func trimBlanks(fields []sigma.Field) {
	for i := range fields {
		fields[i].Value.Text = strings.TrimRight(fields[i].Value.Text, " ")
	}
}

// maxGroups bounds the groups that a Detector keeps: senders can make up types.
const maxGroups = 4096

// Bounds of the estimated number of fields: of an event, and of a batch.
const (
	minFieldsPerEvent     = 32
	maxPreallocatedFields = 1 << 19
)

// maxMatchesMemoryBytes bounds what the matches of one call of Detect take in memory, in
// bytes, unless they are of a single event.
const maxMatchesMemoryBytes = 16 << 20

// matchMemoryBytes is about what a match takes in memory.
func matchMemoryBytes(m *picket.Match) int {
	n := 512
	for _, e := range m.Why {
		n += 32 + len(e.Value)
	}
	for _, v := range m.Observed {
		n += 64 + len(v)
	}
	return n
}

// Bounds of the evidence of a match, because a value of an event may be evidence of
// very many matches.
const (
	maxEvidencePerMatch      = 32
	maxEvidenceValueBytes    = 2 << 10 // of one value
	maxEvidenceBytesPerMatch = 8 << 10
)

// shortenEvidence cuts evidence to its bounds.
func shortenEvidence(why []sigma.Evidence) []sigma.Evidence {
	why = why[:min(len(why), maxEvidencePerMatch)]
	left := maxEvidenceBytesPerMatch
	for i := range why {
		v := why[i].Value
		if most := min(maxEvidenceValueBytes, left); len(v) > most {
			why[i].Value = strings.ToValidUTF8(v[:most], "") + "…"
		}
		left = max(0, left-len(v))
	}
	return why
}

// newMatch returns the match of a rule on an event with a namespace.
func newMatch(ev *picket.Event, namespace, ruleID, title string, level sigma.Level, tags []string, why []sigma.Evidence) picket.Match {
	return picket.Match{
		ID: picket.MatchID(ruleID, picket.EventKey(ev.ID, namespace)), RuleID: ruleID, EventID: ev.ID, EventNamespace: namespace, AgentID: ev.AgentID, Host: ev.Host,
		Time: ev.PlausibleTime(), Title: title, Level: level, Tags: tags, Why: why,
	}
}
