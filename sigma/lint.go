package sigma

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Severity says how much a Finding matters.
type Severity uint8

// The severities: what is worth knowing, what is doubtful, and what is wrong.
const (
	LintInfo Severity = iota
	LintWarning
	LintError
)

var severityNames = [...]string{"info", "warning", "error"}

// String returns "info", "warning" or "error".
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// ParseSeverity returns the severity of that name; every other string is an
// error.
func ParseSeverity(name string) (Severity, error) {
	if i := slices.Index(severityNames[:], name); i >= 0 {
		return Severity(i), nil
	}
	return 0, fmt.Errorf("unknown severity %q (want error, warning or info)", name)
}

// A Finding is something that Lint has against a document that loads.
type Finding struct {
	Check    string // one of LintChecks
	Severity Severity
	Document Document
	Meta     *Meta // of the document given to Lint
	// Line and Column are where it stands in Meta.File, from 1; Column is 0
	// where it is the document as a whole.
	Line, Column int
	Reason       string
	Hint         string // what to write instead, or ""
}

// String returns "file:line:column: reason (hint) [check]".
func (f Finding) String() string {
	s := position(f.Meta.File, f.Line, f.Column) + f.Reason
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s + " [" + f.Check + "]"
}

// LintOptions say what Lint looks for. The zero value is all that can be known
// without knowing where events come from.
type LintOptions struct {
	// Only and Ignore are names out of LintChecks: no others are made, and
	// these are not. An empty Only is all of them.
	Only, Ignore []string
	// Known are the logsources that there are events of; without it,
	// logsources and fields are not looked at.
	Known []KnownSource
	// Placeholders are those of Options.
	Placeholders map[string][]string
}

// A KnownSource is a logsource that there are events of.
type KnownSource struct {
	LogSource
	// EventIDs are those of the Windows events of the service that make up the
	// category, and nothing else.
	EventIDs []string
	// Fields are all that such an event can have; nil if that is not known.
	Fields []string
}

// A LintCheck is one thing that Lint looks for.
type LintCheck struct {
	Name     string
	Severity Severity // of most of its findings
	About    string   // what is found, in a few words
}

// LintChecks returns all checks in order of their names.
func LintChecks() []LintCheck {
	var out []LintCheck
	for _, c := range lintChecks() {
		out = append(out, c.LintCheck)
	}
	slices.SortFunc(out, func(a, b LintCheck) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// A check is a LintCheck and what makes it: of the functions, all that are
// given are called.
type check struct {
	LintCheck
	document func(*linter, *lintDoc)
	item     func(*linter, *lintDoc, *item)
	value    func(*linter, *lintDoc, *item, *scalar)
	pack     func(*linter, []*lintDoc)
}

func lintChecks() []check {
	return slices.Concat(parseChecks, metaChecks, packChecks, tagChecks, conditionChecks, itemChecks, valueChecks, regexChecks, sourceChecks, costChecks)
}

// parseChecks are made by Parse, which notes what it lets pass.
var parseChecks = []check{
	{LintCheck: LintCheck{"missing_level", LintWarning, "no level: the rule counts as medium"}},
	{LintCheck: LintCheck{"unknown_status", LintWarning, "a status that the specification does not know"}},
	{LintCheck: LintCheck{"timeframe", LintWarning, "timeframe, which has no effect"}},
	{LintCheck: LintCheck{"null_in_list", LintWarning, "null among other values"}},
	{LintCheck: LintCheck{"single_value_all", LintWarning, "the modifier all on one value"}},
	{LintCheck: LintCheck{"operator_case", LintWarning, "AND, OR, NOT or OF in upper case"}},
	{LintCheck: LintCheck{"correlation_key", LintWarning, "a key that has no effect in a correlation"}},
}

// A lintDoc is a document of the pack.
type lintDoc struct {
	kind   Document
	meta   *Meta
	source LogSource
	search *search // nil of a correlation
	corr   *Correlation
	rule   *Rule
}

type linter struct {
	options  LintOptions
	pack     Pack
	check    *check
	findings []Finding

	// Of the checks that need the pack compiled, once the first has asked.
	rules  *RuleSet
	failed map[*Meta]bool
}

// Lint looks for what is doubtful in documents that parse: what SigmaHQ's
// rules and pySigma's validators ask of a rule, and what makes one slow or
// never fire. The findings are in order of file, line and column. It changes
// nothing, and does no more than compile the pack; that documents compile, it
// leaves to Compile.
func Lint(pack Pack, o LintOptions) []Finding {
	l := &linter{options: o, pack: pack}
	var docs []*lintDoc
	for _, r := range pack.Rules {
		docs = append(docs, &lintDoc{kind: RuleDocument, meta: &r.Meta, source: r.LogSource, search: &r.search, rule: r})
	}
	for _, c := range pack.Correlations {
		docs = append(docs, &lintDoc{kind: CorrelationDocument, meta: &c.Meta, corr: c})
	}
	for _, f := range pack.Filters {
		docs = append(docs, &lintDoc{kind: FilterDocument, meta: &f.Meta, source: f.LogSource, search: &f.search})
	}
	for _, c := range lintChecks() {
		if len(o.Only) > 0 && !slices.Contains(o.Only, c.Name) || slices.Contains(o.Ignore, c.Name) {
			continue
		}
		l.check = &c
		l.run(docs)
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Meta.File, b.Meta.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Check, b.Check))
	})
	return l.findings
}

// run makes one check.
func (l *linter) run(docs []*lintDoc) {
	c := l.check
	if c.pack != nil {
		c.pack(l, docs)
	}
	for _, d := range docs {
		for _, w := range d.meta.doubts {
			if w.check == c.Name {
				l.add(d, w.place, "", "%s", w.reason)
			}
		}
		if c.document != nil {
			c.document(l, d)
		}
		if d.search == nil || c.item == nil && c.value == nil {
			continue
		}
		for it := range d.search.items() {
			if c.item != nil {
				c.item(l, d, it)
			}
			for i := range it.values {
				if c.value != nil {
					c.value(l, d, it, &it.values[i])
				}
			}
		}
	}
}

// items yields every item of the search.
func (s *search) items() func(func(*item) bool) {
	return func(yield func(*item) bool) {
		for i := range s.detections {
			for _, all := range s.detections[i].alternatives {
				for k := range all {
					if !yield(&all[k]) {
						return
					}
				}
			}
		}
	}
}

func (l *linter) add(d *lintDoc, at place, hint, format string, args ...any) {
	if at.line == 0 {
		at.line = d.meta.Line
	}
	l.findings = append(l.findings, Finding{
		Check: l.check.Name, Severity: l.check.Severity, Document: d.kind, Meta: d.meta,
		Line: at.line, Column: at.column, Reason: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// key returns where a key of the document stands.
func (m *Meta) key(name string) (place, bool) {
	for _, k := range m.keys {
		if k.name == name {
			return k.place, true
		}
	}
	return place{}, false
}

// addAt reports at a key of the document.
func (l *linter) addAt(d *lintDoc, key, hint, format string, args ...any) {
	at, _ := d.meta.key(key)
	l.add(d, at, hint, format, args...)
}
