package ruleset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// A Problem is a rule that does not load, and why.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	RuleID string `json:"rule_id,omitempty"`
	Reason string `json:"reason"`
	// Missing is a referenced rule that does not exist; another pack may have it.
	Missing string `json:"missing,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Pack is the pack of the file, see RuleInfo.
	Pack string `json:"pack,omitempty"`
	// RunsEarlierVersion: the file's last version without problems runs instead.
	RunsEarlierVersion bool `json:"runs_earlier_version,omitempty"`
	// EmptySource is whether the file is a whole source of rules that has none.
	EmptySource bool `json:"-"`
}

// String returns the problem in one line, in the format of compilers.
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", p.File, p.Line)
		if p.Column > 0 {
			s = fmt.Sprintf("%s:%d", s, p.Column)
		}
	}
	s += ": " + p.Reason
	if p.Hint != "" {
		s += fmt.Sprintf(" (%s)", p.Hint)
	}
	if p.RunsEarlierVersion {
		s += "; its last version without problems keeps running"
	}
	return s
}

// FilesInEarlierVersion returns how many rule files run in an earlier version, because
// the present one has problems.
func (set *LoadedRules) FilesInEarlierVersion() int {
	files := make(map[string]bool)
	for _, p := range set.Problems {
		if p.RunsEarlierVersion {
			files[p.File] = true
		}
	}
	return len(files)
}

// A RuleInfo describes a rule, correlation or filter for people.
type RuleInfo struct {
	*ast.Meta
	Kind      ast.DocumentKind
	LogSource sigma.LogSource // zero for a correlation
	Pack      string          // "builtin", the name of an installed pack, or ""
	Expires   time.Time       // when a filter ends to apply; zero for never
}

// LoadedRules is the result of loading rules.
type LoadedRules struct {
	Rules             *sigma.RuleSet // the enabled rules, compiled
	Enabled, Disabled []RuleInfo     // for people
	Expired           []RuleInfo     // filters that apply no longer
	NextExpiry        time.Time      // of an enabled filter; zero if none expires
	Problems          []Problem
	Revision          string // hash of the files, 12 hex digits
	// Parsed are all documents before the pipelines, enabled or not.
	Parsed ast.Collection
	// Effective are all documents as the pipelines have made them.
	Effective ast.Collection
	Warnings  []string // parts of pipelines without effect

	reaches func(*ast.Filter, *ast.Rule) bool // see sigma.Options.FilterReaches
}

// Load reads and compiles the rules of sources, without the disabled ones. Rules that
// do not load are Problems; only a source that cannot be read is an error.
func Load(sources []Source, disabled map[string]bool) (LoadedRules, error) {
	all, err := readFiles(sources)
	if err != nil {
		return LoadedRules{}, err
	}
	set, err := compileFiles(all, disabled, time.Now())
	set.Problems = append(set.Problems, emptySourceProblems(sources, all)...)
	return set, err
}

// compileFiles parses and compiles files.
func compileFiles(all []ruleFile, disabled map[string]bool, now time.Time) (LoadedRules, error) {
	var set LoadedRules
	var collection ast.Collection
	sum, seen := sha256.New(), make(map[string]string)
	confinedTo, packOf := make(map[string]string), make(map[string]string) // packs, by file
	pipe, err := parsePipelines(all)
	if err != nil {
		return LoadedRules{}, err
	}
	parsed := parseFiles(all)
	for i, f := range all {
		fmt.Fprintf(sum, "%s\x00%d\x00", f.Name, len(f.Data))
		sum.Write(f.Data)
		packOf[f.Name] = f.InPack
		if confinedTo[f.Name] = f.Pack; f.Pack != "" {
			fmt.Fprintf(sum, "pack %s\x00", f.Pack)
		}
		p, err := parsed[i].documents, parsed[i].err
		if err != nil {
			set.Problems = append(set.Problems, problemsOf(f.Name, err)...)
		}
		// duplicate reports whether a document's id is taken or not usable. It gives
		// a document without id a synthetic one.
		duplicate := func(m *ast.Meta, l sigma.LogSource) bool {
			if m.ID == "" {
				m.ID = syntheticID(m, l)
			}
			if !isValidRuleID(m.ID) {
				set.Problems = append(set.Problems, Problem{File: f.Name, Line: m.Line, Reason: fmt.Sprintf("id %.150q is not usable: it has spaces or control characters, or more than %d bytes", m.ID, maxRuleIDBytes), Hint: "give it a UUID"})
				return true
			}
			first, ok := seen[m.ID]
			if ok {
				set.Problems = append(set.Problems, Problem{File: f.Name, Line: m.Line, RuleID: m.ID, Reason: "id " + m.ID + " is taken by " + first, Hint: "give one of the two a new id"})
			} else {
				seen[m.ID] = f.Name
			}
			return ok
		}
		p.Rules = slices.DeleteFunc(p.Rules, func(r *ast.Rule) bool { return duplicate(&r.Meta, r.LogSource) })
		p.Correlations = slices.DeleteFunc(p.Correlations, func(c *ast.Correlation) bool { return duplicate(&c.Meta, sigma.LogSource{}) })
		p.Filters = slices.DeleteFunc(p.Filters, func(f *ast.Filter) bool { return duplicate(&f.Meta, f.LogSource) })
		collection.Add(p)
	}
	set.Parsed, set.Warnings = collection, pipe.Warnings
	collection.Filters = slices.DeleteFunc(slices.Clone(collection.Filters), func(f *ast.Filter) bool { return set.recordExpiry(f, packOf[f.File], now) })
	for _, f := range set.Expired {
		fmt.Fprintf(sum, "expired %s\x00", f.ID)
	}
	collection = set.applyPipelines(pipe, collection)
	set.Effective = collection
	reaches := func(f *ast.Filter, r *ast.Rule) bool {
		return confinedTo[f.File] == "" || confinedTo[f.File] == confinedTo[r.File]
	}
	set.reaches = reaches
	rs, errs := sigma.Compile(collection, sigma.Options{Disabled: disabled, FilterReaches: reaches})
	failed := make(map[*ast.Meta]bool)
	for _, e := range errs {
		failed[e.Meta] = true
		set.Problems = append(set.Problems, problemsOf("", e)...)
	}
	set.Problems = append(set.Problems, ineffectiveFilterProblems(collection, reaches)...)
	for i := range set.Problems {
		set.Problems[i].Pack = packOf[set.Problems[i].File]
	}
	set.Rules, set.Revision = rs, hex.EncodeToString(sum.Sum(nil))[:12]
	set.fillEnabledAndDisabled(collection, disabled, failed, packOf)
	return set, nil
}

// A parsedFile is the documents of a rule file, and what is wrong with others.
type parsedFile struct {
	documents ast.Collection
	err       error
}

// parseFiles parses files on all cores, each into the element with its index. Files that
// hold no rules have no documents.
func parseFiles(all []ruleFile) []parsedFile {
	parsed := make([]parsedFile, len(all))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(all); i = int(next.Add(1)) - 1 {
				if f := &all[i]; !f.Pipeline && !strings.HasSuffix(f.Name, testFileSuffix) && !isNotARule(f.Data) {
					parsed[i].documents, parsed[i].err = sigma.Parse(f.Name, f.Data)
				}
			}
		})
	}
	wg.Wait()
	return parsed
}

// MoveToDisabled moves rules from Enabled to Disabled.
func (set *LoadedRules) MoveToDisabled(disabled map[string]bool) {
	set.Enabled = slices.DeleteFunc(set.Enabled, func(r RuleInfo) bool {
		if disabled[r.ID] {
			set.Disabled = append(set.Disabled, r)
		}
		return disabled[r.ID]
	})
}

// DropMissingRulesFoundIn drops the problems about rules that are missing here and that other has.
func (set *LoadedRules) DropMissingRulesFoundIn(other *LoadedRules) {
	set.Problems = slices.DeleteFunc(set.Problems, func(p Problem) bool {
		matches := func(r RuleInfo) bool { return r.MatchesRef(p.Missing) }
		return slices.ContainsFunc(other.Enabled, matches) || slices.ContainsFunc(other.Disabled, matches)
	})
}

// recordExpiry lists a filter in Expired if it has expired; else it notes when it will.
func (set *LoadedRules) recordExpiry(f *ast.Filter, pack string, now time.Time) (expired bool) {
	switch {
	case f.Expires.IsZero():
	case !now.Before(f.Expires):
		set.Expired = append(set.Expired, RuleInfo{&f.Meta, ast.FilterDocument, f.LogSource, pack, f.Expires})
		return true
	case set.NextExpiry.IsZero() || f.Expires.Before(set.NextExpiry):
		set.NextExpiry = f.Expires
	}
	return false
}

// ineffectiveFilterProblems reports the rules that filters name and do not apply to,
// because they are of another pack.
func ineffectiveFilterProblems(collection ast.Collection, reaches func(*ast.Filter, *ast.Rule) bool) []Problem {
	var ps []Problem
	for _, f := range collection.Filters {
		for _, ref := range f.Rules {
			for _, r := range collection.Rules {
				if r.MatchesRef(ref) && !reaches(f, r) {
					ps = append(ps, Problem{File: f.File, Line: f.RulesPosition.Line, RuleID: f.ID,
						Reason: "the filter does not apply to rule " + ref + ", which is of another pack", Hint: "install the pack with --filters-any if its filters are trusted"})
				}
			}
		}
	}
	return ps
}

// fillEnabledAndDisabled fills the two lists. A filter whose rule is missing still counts
// as enabled.
func (set *LoadedRules) fillEnabledAndDisabled(collection ast.Collection, disabled map[string]bool, failed map[*ast.Meta]bool, packOf map[string]string) {
	add := func(m *ast.Meta, kind ast.DocumentKind, source sigma.LogSource, expires time.Time) {
		e := RuleInfo{m, kind, source, packOf[m.File], expires}
		if disabled[e.ID] {
			set.Disabled = append(set.Disabled, e)
		} else if !failed[e.Meta] {
			set.Enabled = append(set.Enabled, e)
		}
	}
	for _, r := range collection.Rules {
		add(&r.Meta, ast.RuleDocument, r.LogSource, time.Time{})
	}
	for _, c := range set.Rules.Correlations() { // with their final levels
		add(&c.Meta, ast.CorrelationDocument, sigma.LogSource{}, time.Time{})
	}
	for _, c := range collection.Correlations {
		if disabled[c.ID] {
			add(&c.Meta, ast.CorrelationDocument, sigma.LogSource{}, time.Time{})
		}
	}
	for _, f := range collection.Filters {
		add(&f.Meta, ast.FilterDocument, f.LogSource, f.Expires)
	}
	set.Disabled = append(set.Disabled, SenderRules(disabled)...)
}

// SenderRules returns the rules of senders, such as Falco's, among disabled ones, by id.
func SenderRules(disabled map[string]bool) (rules []RuleInfo) {
	for _, id := range slices.Sorted(maps.Keys(disabled)) {
		if title, ok := normalize.SenderRuleTitle(id); ok {
			rules = append(rules, RuleInfo{Meta: &ast.Meta{ID: id, Title: title}, Pack: "sender"})
		}
	}
	return rules
}

// maxRuleIDBytes bounds the id of a rule.
const maxRuleIDBytes = 128

// isValidRuleID reports whether an id can be listed, one per line or in a URL, without
// being taken for another.
func isValidRuleID(id string) bool {
	return id != "" && len(id) <= maxRuleIDBytes && utf8.ValidString(id) &&
		!strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// isNotARule reports whether a YAML file is not a rule, such as a table of
// logsources, as opposed to a malformed rule.
func isNotARule(data []byte) bool {
	has := func(key string) bool {
		return bytes.HasPrefix(data, []byte(key)) || bytes.Contains(data, []byte("\n"+key))
	}
	return has("logsources:") || !has("title:") && !has("detection:") && !has("correlation:") && !has("filter:")
}

// syntheticID returns an id for a document without one, derived from its title and
// logsource.
func syntheticID(m *ast.Meta, l sigma.LogSource) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s/%s/%s", m.Title, l.Product, l.Category, l.Service))
	return "title-" + hex.EncodeToString(h[:8])
}

// problemsOf converts an error, which may join several, into problems.
func problemsOf(file string, err error) []Problem {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var ps []Problem
		for _, e := range many.Unwrap() {
			ps = append(ps, problemsOf(file, e)...)
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
