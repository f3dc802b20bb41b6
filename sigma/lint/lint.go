// Package lint finds likely mistakes in Sigma documents that parse: what the
// conventions of SigmaHQ and the validators of pySigma require of a rule, and
// what makes a rule slow or keeps it from ever matching.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// A Severity says how much a Finding matters.
type Severity uint8

// The severities: of what is worth knowing, what is likely a mistake, and what
// is wrong.
const (
	Info Severity = iota
	Warning
	Error
)

var severityNames = [...]string{"info", "warning", "error"}

// String returns "info", "warning" or "error".
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// ParseSeverity returns the severity of that name; any other string is an
// error.
func ParseSeverity(name string) (Severity, error) {
	if i := slices.Index(severityNames[:], name); i >= 0 {
		return Severity(i), nil
	}
	return 0, fmt.Errorf("unknown severity %q (want error, warning or info)", name)
}

// A Finding is a likely mistake in a document. Its Diagnostic has no column if
// it is about the document as a whole.
type Finding struct {
	Check    string // the name of a Check
	Severity Severity
	Kind     ast.DocumentKind
	Meta     *ast.Meta // of the document as it was given
	ast.Diagnostic
}

// String returns "file:line:column: reason (hint) [check]".
func (f Finding) String() string {
	s := f.Prefix(f.Meta.File) + f.Reason
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s + " [" + f.Check + "]"
}

// Options select what Run checks. The zero value selects all checks that need no
// knowledge of the events.
type Options struct {
	// Only and Ignore are names of checks: only the former are made, and the
	// latter are not. An empty Only means all checks.
	Only, Ignore []string
	// Known are the logsources of the events that there are. Without it,
	// logsources and fields are not checked.
	Known []KnownLogSource
	// UnknownLogSourceHint, if not nil, says how events can have a logsource that is not
	// among Known.
	UnknownLogSourceHint func(ast.LogSource) string
	// Now is the time at which filters must not have expired. If it is zero, that is not
	// checked.
	Now time.Time
	// Placeholders are those with which the rules will be compiled.
	Placeholders map[string][]string
}

// A KnownLogSource describes a logsource that events have.
type KnownLogSource struct {
	ast.LogSource
	// EventIDs are those of the Windows events of the service that make up the
	// category, if such events are all there is to it.
	EventIDs []string
	// Fields are all fields that such an event can have, nil if unknown.
	Fields []string
}

// A Check is one thing that Run looks for.
type Check struct {
	Name     string
	Severity Severity // of its findings
	About    string   // what it finds, in a few words
}

// Checks returns all checks, sorted by name.
func Checks() []Check {
	var out []Check
	for _, c := range allChecks() {
		out = append(out, c.Check)
	}
	slices.SortFunc(out, func(a, b Check) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// renamedChecks are the names that checks had before.
var renamedChecks = map[string]string{"no_witness": "no_prefilter", "presence_only": "weak_prefilter"}

// CurrentCheckName returns the name of the check that has or had the name given, and
// whether there is one.
func CurrentCheckName(name string) (current string, exists bool) {
	name = cmp.Or(renamedChecks[name], name)
	return name, slices.ContainsFunc(allChecks(), func(c check) bool { return c.Name == name })
}

// A check is a Check with the functions that make it. All that are not nil
// are called.
type check struct {
	Check
	document   func(*linter, *document)
	item       func(*linter, *document, *ast.DetectionItem)
	value      func(*linter, *document, *ast.DetectionItem, *ast.Scalar)
	collection func(*linter, []*document)
}

func allChecks() []check {
	return slices.Concat(parserWarningChecks, metadataChecks, collectionChecks, tagChecks, conditionChecks, itemChecks, valueChecks, regexChecks, logSourceChecks, prefilterChecks)
}

// parserWarningChecks report the warnings of the parser.
var parserWarningChecks = []check{
	{Check: Check{"missing_level", Warning, "no level: the rule counts as medium"}},
	{Check: Check{"unknown_status", Warning, "a status that the specification does not define"}},
	{Check: Check{"timeframe", Warning, "timeframe, which has no effect"}},
	{Check: Check{"null_in_list", Warning, "null among other values"}},
	{Check: Check{"single_value_all", Warning, "the modifier all on one value"}},
	{Check: Check{"operator_case", Warning, "AND, OR, NOT or OF in upper case"}},
	{Check: Check{"correlation_key", Warning, "a key that has no effect in a correlation"}},
}

// A document is one of the collection.
type document struct {
	kind        ast.DocumentKind
	meta        *ast.Meta
	source      ast.LogSource
	detections  *ast.Detections  // nil for a correlation
	correlation *ast.Correlation // or nil
	expires     time.Time        // of a filter; zero for never
}

type linter struct {
	options    Options
	collection ast.Collection
	check      *check
	findings   []Finding

	// The compiled rules, once a check needs them.
	compiled *sigma.RuleSet
	failed   map[*ast.Meta]bool
}

// Run returns the findings about the documents of a collection, in the order of
// files, lines and columns. It changes nothing. What does not compile is not a
// finding: sigma.Compile reports it.
func Run(c ast.Collection, o Options) []Finding {
	l := &linter{options: o, collection: c}
	only, ignore := currentCheckNames(o.Only), currentCheckNames(o.Ignore)
	var docs []*document
	for _, r := range c.Rules {
		docs = append(docs, &document{kind: ast.RuleDocument, meta: &r.Meta, source: r.LogSource, detections: &r.Detections})
	}
	for _, corr := range c.Correlations {
		docs = append(docs, &document{kind: ast.CorrelationDocument, meta: &corr.Meta, correlation: corr})
	}
	for _, f := range c.Filters {
		docs = append(docs, &document{kind: ast.FilterDocument, meta: &f.Meta, source: f.LogSource, detections: &f.Detections, expires: f.Expires})
	}
	for _, ch := range allChecks() {
		if len(only) > 0 && !slices.Contains(only, ch.Name) || slices.Contains(ignore, ch.Name) {
			continue
		}
		l.check = &ch
		l.runCheck(docs)
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Meta.File, b.Meta.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Check, b.Check))
	})
	return l.findings
}

func currentCheckNames(names []string) []string {
	var out []string
	for _, name := range names {
		current, _ := CurrentCheckName(name)
		out = append(out, current)
	}
	return out
}

// runCheck makes one check.
func (l *linter) runCheck(docs []*document) {
	c := l.check
	if c.collection != nil {
		c.collection(l, docs)
	}
	for _, d := range docs {
		for _, w := range d.meta.Warnings {
			if w.Check == c.Name {
				l.addFinding(d, w.Position, "", "%s", w.Reason)
			}
		}
		if c.document != nil {
			c.document(l, d)
		}
		if d.detections == nil || c.item == nil && c.value == nil {
			continue
		}
		for it := range d.detections.TopLevelItems() {
			if c.item != nil {
				c.item(l, d, it)
			}
			for i := range it.Values {
				if c.value != nil {
					c.value(l, d, it, &it.Values[i])
				}
			}
		}
	}
}

// addFinding reports a finding at a position, or about the document as a whole if that
// is unknown.
func (l *linter) addFinding(d *document, at ast.Position, hint, format string, args ...any) {
	if at.Line == 0 {
		at.Line = d.meta.Line
	}
	l.findings = append(l.findings, Finding{
		Check: l.check.Name, Severity: l.check.Severity, Kind: d.kind, Meta: d.meta,
		Diagnostic: ast.Diagnostic{Position: at, Reason: fmt.Sprintf(format, args...), Hint: hint},
	})
}

// keyPosition returns the position of a key of the document.
func (d *document) keyPosition(name string) (position ast.Position, found bool) {
	for _, k := range d.meta.Keys {
		if k.Text == name {
			return k.Position, true
		}
	}
	return ast.Position{}, false
}

// addFindingAtKey reports a finding at a key of the document.
func (l *linter) addFindingAtKey(d *document, key, hint, format string, args ...any) {
	at, _ := d.keyPosition(key)
	l.addFinding(d, at, hint, format, args...)
}
