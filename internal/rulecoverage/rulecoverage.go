// Package rulecoverage says which rules can fire on the events that were received of
// late, and why the others cannot. Analysts use it to see what is not collected.
package rulecoverage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// Events are the stored events.
type Events interface {
	Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error)
	SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error)
}

// A Report is the coverage of the enabled rules.
type Report struct {
	Since   time.Time        `json:"since"`
	Sampled int              `json:"sampled"` // events that were read
	Sources []ReceivedSource `json:"sources"` // that the sampled events belong to, by name
	Rules   []RuleCoverage   `json:"rules"`   // and correlations, in the order of the rule set
	// TypesWithoutLogSource are the types of events of which some have no logsource, so that
	// no rule can match them.
	TypesWithoutLogSource []string `json:"types_without_logsource"`
}

// A ReceivedSource is a logsource that events belong to.
type ReceivedSource struct {
	LogSource string `json:"logsource"`
	Events    int    `json:"events"` // among those sampled
	Fields    int    `json:"fields"` // distinct
	Rules     int    `json:"rules"`  // enabled, for the logsource
}

// RuleCoverage says whether a rule can fire.
type RuleCoverage struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Level   string `json:"level"`
	Kind    string `json:"kind"`
	CanFire bool   `json:"can_fire"`
	Reason  string `json:"reason,omitempty"` // why it cannot
	// MissingFields are the fields that the rule names and no event of its logsource had.
	MissingFields []string `json:"missing_fields,omitempty"`
}

// Bounds of a report.
const (
	maxSampledPerType   = 2000 // events
	maxSampledTypes     = 500
	maxFieldsNotInRules = 100_000 // names that no rule has, over all logsources
	maxFieldNameBytes   = 256     // of such a name
	maxSources          = 5000    // logsources: senders may declare many
)

// Measure samples the newest events of each type since a time, and returns which of the
// enabled rules can fire on events like them.
func Measure(ctx context.Context, events Events, set *ruleset.LoadedRules, since time.Time) (Report, error) {
	report := Report{Since: since.UTC(), Sources: []ReceivedSource{}, Rules: []RuleCoverage{}, TypesWithoutLogSource: []string{}}
	s := sample{fieldsOf: make(map[sigma.LogSource]map[string]bool), eventsOf: make(map[sigma.LogSource]int), reader: normalize.NewReader(), inRules: make(map[string]bool)}
	for _, r := range set.Effective.Rules {
		r.Detections.CanHold(func(name string) bool { s.inRules[name] = true; return true })
	}
	types, err := receivedTypes(ctx, events, since)
	if err != nil {
		return report, fmt.Errorf("measure coverage: %w", err)
	}
	for _, typ := range types {
		if err := s.readNewest(ctx, events, typ); err != nil {
			return report, fmt.Errorf("measure coverage: read events of type %q: %w", typ, err)
		}
	}
	report.TypesWithoutLogSource = append(report.TypesWithoutLogSource, s.withoutLogSource...)
	report.Sampled = s.events
	for source, n := range s.eventsOf {
		report.Sources = append(report.Sources, ReceivedSource{source.String(), n, len(s.fieldsOf[source]), rulesFor(source, set)})
	}
	slices.SortFunc(report.Sources, func(a, b ReceivedSource) int { return strings.Compare(a.LogSource, b.LogSource) })
	report.Rules = s.coverageOf(set)
	return report, nil
}

// rulesFor returns how many enabled rules are for a logsource.
func rulesFor(source sigma.LogSource, set *ruleset.LoadedRules) (n int) {
	for _, r := range set.Enabled {
		if r.Kind == ast.RuleDocument && r.LogSource.Covers(source) {
			n++
		}
	}
	return n
}

// receivedTypes returns the types of the events received since a time, the most frequent
// first.
func receivedTypes(ctx context.Context, events Events, since time.Time) ([]string, error) {
	minutes, err := events.Activity(ctx, since, time.Time{})
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64)
	for _, m := range minutes {
		for typ, n := range m.Events {
			counts[typ] += n
		}
	}
	types := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	return types[:min(len(types), maxSampledTypes)], nil
}

// A sample is what the sampled events have.
type sample struct {
	events   int
	kept     int             // names in fieldsOf
	inRules  map[string]bool // names that rules have; these are always kept
	fieldsOf map[sigma.LogSource]map[string]bool
	eventsOf map[sigma.LogSource]int

	withoutLogSource []string // types

	reader *normalize.Reader
	fields []sigma.Field
}

// readNewest adds the newest received events of a type.
func (s *sample) readNewest(ctx context.Context, events Events, typ string) error {
	q := store.EventQuery{Where: &store.PatternTerm{Field: "event_type", Pattern: store.NewPattern(typ)}, Limit: maxSampledPerType}
	for n := 0; n < maxSampledPerType; {
		page, err := events.SearchEvents(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Events {
			s.add(&page.Events[i])
		}
		n += len(page.Events)
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
	return nil
}

// add adds the logsources and the fields of an event.
func (s *sample) add(ev *picket.Event) {
	d, err := s.reader.ReadOfType(ev.Raw, ev.Type)
	if err != nil {
		return // accepted by an earlier version
	}
	defer s.reader.DropReferences()
	s.events++
	if len(d.Class.Sources) == 0 && !slices.Contains(s.withoutLogSource, ev.Type) {
		s.withoutLogSource = append(s.withoutLogSource, strings.Clone(ev.Type))
	}
	s.fields = d.Fields(s.fields[:0])
	for _, source := range d.Class.Sources {
		of := s.fieldsOf[source]
		if of == nil && len(s.fieldsOf) >= maxSources {
			continue
		}
		s.eventsOf[source]++
		if of == nil {
			of = make(map[string]bool)
			s.fieldsOf[source] = of
		}
		for i := range s.fields {
			if name := s.fields[i].Name; !of[name] && (s.inRules[name] || len(name) <= maxFieldNameBytes && s.kept < maxFieldsNotInRules) {
				of[strings.Clone(name)] = true
				s.kept++
			}
		}
	}
}

// coverageOf returns the coverage of the enabled rules of a set.
func (s *sample) coverageOf(set *ruleset.LoadedRules) []RuleCoverage {
	enabled := make(map[*ast.Meta]bool)
	for _, r := range set.Enabled {
		enabled[r.Meta] = true
	}
	var out []RuleCoverage
	canFire := make(map[string]bool) // by id and name
	add := func(m *ast.Meta, kind ast.DocumentKind, c RuleCoverage) {
		c.ID, c.Title, c.Level, c.Kind = m.ID, m.Title, m.Level.String(), kind.String()
		out = append(out, c)
		canFire[strings.ToLower(m.ID)] = c.CanFire
		if m.Name != "" {
			canFire[m.Name] = c.CanFire
		}
	}
	for _, r := range set.Effective.Rules {
		if enabled[&r.Meta] {
			add(&r.Meta, ast.RuleDocument, s.coverageOfRule(r))
		}
	}
	for _, c := range set.Rules.Correlations() { // each after those that it refers to
		ok, silent := c.CanHold(func(ref string) bool { return canFire[ref] || canFire[strings.ToLower(ref)] })
		coverage := RuleCoverage{CanFire: ok}
		if !ok {
			coverage.Reason = "these rules cannot fire: " + strings.Join(silent, ", ")
		}
		add(&c.Meta, ast.CorrelationDocument, coverage)
	}
	return out
}

// coverageOfRule returns whether a rule can fire on one of the logsources that it covers.
func (s *sample) coverageOfRule(r *ast.Rule) RuleCoverage {
	best := RuleCoverage{Reason: fmt.Sprintf("there were no events of the logsource %s", r.LogSource)}
	for source, fields := range s.fieldsOf {
		if !r.LogSource.Covers(source) {
			continue
		}
		ok, missing := r.Detections.CanHold(func(name string) bool { return fields[name] })
		if ok {
			return RuleCoverage{CanFire: true}
		}
		if best.MissingFields == nil || len(missing) < len(best.MissingFields) {
			best = RuleCoverage{Reason: "no event of the logsource had what the rule needs of " + strings.Join(missing, ", "), MissingFields: missing}
		}
	}
	return best
}
