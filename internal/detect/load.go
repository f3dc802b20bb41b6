package detect

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// A Problem is a rule that does not run, and why.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	RuleID string `json:"rule_id,omitempty"`
	Reason string `json:"reason"`
	// Missing is a rule that is named and not there, which may be in another pack.
	Missing string `json:"missing,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// String is the problem in one line, as compilers write it.
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", p.File, p.Line)
		if p.Column > 0 {
			s = fmt.Sprintf("%s:%d", s, p.Column)
		}
	}
	if p.Hint != "" {
		return fmt.Sprintf("%s: %s (%s)", s, p.Reason, p.Hint)
	}
	return s + ": " + p.Reason
}

// An Entry is a rule, correlation or filter as people are shown it.
type Entry struct {
	*ast.Meta
	Kind      ast.DocumentKind
	LogSource sigma.LogSource // of a correlation, zero
}

// A Set is what loading rules gives.
type Set struct {
	Rules    *sigma.RuleSet // those that run
	On, Off  []Entry        // what runs, and what is switched off
	Problems []Problem
	Revision string // names the rules by their content, 12 hex digits
	// Pack is what was parsed, before any pipeline and whether it runs or not.
	Pack  ast.Collection
	Notes []string // what the pipelines hold that has no effect
}

// Load reads and compiles the rules of the sources, leaving out those whose id
// is switched off. Rules that do not load are among the Problems and the rest
// run; only a source that can't be read at all is an error.
func Load(sources []Source, off map[string]bool) (Set, error) {
	all, err := files(sources)
	if err != nil {
		return Set{}, err
	}
	return compile(all, off)
}

// compile makes a set of files.
func compile(all []file, off map[string]bool) (Set, error) {
	var set Set
	var pack ast.Collection
	sum, seen := sha256.New(), make(map[string]string)
	pipe, err := parsePipelines(all)
	if err != nil {
		return Set{}, err
	}
	for _, f := range all {
		fmt.Fprintf(sum, "%s\x00%d\x00", f.Name, len(f.Data))
		sum.Write(f.Data)
		if f.Pipeline || strings.HasSuffix(f.Name, caseSuffix) || isNotARule(f.Data) {
			continue
		}
		p, err := sigma.Parse(f.Name, f.Data)
		if err != nil {
			set.Problems = append(set.Problems, problems(f.Name, err)...)
		}
		// twice reports whether a document's id is taken, and makes one for a
		// document without.
		twice := func(m *ast.Meta, l sigma.LogSource) bool {
			if m.ID == "" {
				m.ID = nameless(m, l)
			}
			first, ok := seen[m.ID]
			if ok {
				set.Problems = append(set.Problems, Problem{File: f.Name, Line: m.Line, RuleID: m.ID, Reason: "id " + m.ID + " is taken by " + first, Hint: "give one of the two a new id"})
			} else {
				seen[m.ID] = f.Name
			}
			return ok
		}
		p.Rules = slices.DeleteFunc(p.Rules, func(r *ast.Rule) bool { return twice(&r.Meta, r.LogSource) })
		p.Correlations = slices.DeleteFunc(p.Correlations, func(c *ast.Correlation) bool { return twice(&c.Meta, sigma.LogSource{}) })
		p.Filters = slices.DeleteFunc(p.Filters, func(f *ast.Filter) bool { return twice(&f.Meta, f.LogSource) })
		pack.Add(p)
	}
	set.Pack, set.Notes = pack, pipe.Warnings
	pack = set.through(pipe, pack)
	rs, errs := sigma.Compile(pack, sigma.Options{Disabled: off})
	failed := make(map[*ast.Meta]bool)
	for _, e := range errs {
		failed[e.Meta] = true
		set.Problems = append(set.Problems, problems("", e)...)
	}
	set.Rules, set.Revision = rs, hex.EncodeToString(sum.Sum(nil))[:12]
	set.list(pack, off, failed)
	return set, nil
}

// list sorts what was loaded into On and Off. A filter that lacks a rule runs
// nevertheless.
func (set *Set) list(pack ast.Collection, off map[string]bool, failed map[*ast.Meta]bool) {
	add := func(e Entry) {
		if off[e.ID] {
			set.Off = append(set.Off, e)
		} else if !failed[e.Meta] {
			set.On = append(set.On, e)
		}
	}
	for _, r := range pack.Rules {
		add(Entry{&r.Meta, ast.RuleDocument, r.LogSource})
	}
	for _, c := range set.Rules.Correlations() { // with the levels that they were given
		add(Entry{&c.Meta, ast.CorrelationDocument, sigma.LogSource{}})
	}
	for _, c := range pack.Correlations {
		if off[c.ID] {
			set.Off = append(set.Off, Entry{&c.Meta, ast.CorrelationDocument, sigma.LogSource{}})
		}
	}
	for _, f := range pack.Filters {
		add(Entry{&f.Meta, ast.FilterDocument, f.LogSource})
	}
}

// isNotARule tells other YAML that lies among rules, as tables of logsources
// do, from rules that are broken.
func isNotARule(data []byte) bool {
	has := func(key string) bool {
		return bytes.HasPrefix(data, []byte(key)) || bytes.Contains(data, []byte("\n"+key))
	}
	return has("logsources:") || !has("title:") && !has("detection:") && !has("correlation:") && !has("filter:")
}

// nameless makes an id for a document without one, that stays while its title
// and logsource do.
func nameless(m *ast.Meta, l sigma.LogSource) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%v", m.Title, l))
	return "title-" + hex.EncodeToString(h[:8])
}

// problems turns an error, which may be several joined, into problems.
func problems(file string, err error) []Problem {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var ps []Problem
		for _, e := range many.Unwrap() {
			ps = append(ps, problems(file, e)...)
		}
		return ps
	}
	if ce, ok := errors.AsType[*ast.DocumentError](err); ok {
		return []Problem{{File: ce.Meta.File, Line: ce.Line, Column: ce.Column, RuleID: ce.Meta.ID, Reason: ce.Reason, Hint: ce.Hint, Missing: ce.Missing}}
	}
	if pe, ok := errors.AsType[*ast.ParseError](err); ok {
		return []Problem{{File: pe.File, Line: pe.Line, Column: pe.Column, Reason: pe.Reason, Hint: pe.Hint}}
	}
	return []Problem{{File: file, Reason: err.Error()}}
}
