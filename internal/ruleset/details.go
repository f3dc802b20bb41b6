package ruleset

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma/ast"
)

// A RuleSummary is what a list says of a rule, correlation or filter.
type RuleSummary struct {
	Enabled   bool          `json:"enabled"`
	File      string        `json:"file"`
	ID        string        `json:"id"`
	Kind      string        `json:"kind"` // rule, correlation or filter
	Level     string        `json:"level"`
	LogSource LogSourceJSON `json:"logsource"`
	Pack      string        `json:"pack"`
	Status    string        `json:"status"`
	Tags      []string      `json:"tags"`
	Title     string        `json:"title"`
	Expires   *time.Time    `json:"expires,omitempty"` // of a filter
}

// A FilterSummary is what the details of a rule say of a filter that applies to it.
type FilterSummary struct {
	RuleSummary
	Description string   `json:"description"`
	Author      string   `json:"author"`
	Compares    []string `json:"compares"` // fields and values, as in "User: joe, root"
}

// A LogSourceJSON is a logsource in the JSON of a rule.
type LogSourceJSON struct {
	Product  string `json:"product"`
	Category string `json:"category"`
	Service  string `json:"service"`
}

// RuleDetails are everything about a rule that its file and the other rules say.
type RuleDetails struct {
	RuleSummary
	Description    string          `json:"description"`
	Author         string          `json:"author"`
	References     []string        `json:"references"`
	FalsePositives []string        `json:"falsepositives"`
	Filters        []FilterSummary `json:"filters"` // enabled ones that apply to it
	Text           string          `json:"text"`    // as the file has it
}

// Summary returns the summary of a rule.
func (r RuleInfo) Summary(enabled bool) RuleSummary {
	s := RuleSummary{ID: r.ID, Title: r.Title, Level: r.Level.String(), Status: r.Status, Tags: r.Tags, File: r.File, Enabled: enabled, Pack: r.Pack, Kind: r.Kind.String(),
		LogSource: LogSourceJSON{r.LogSource.Product, r.LogSource.Category, r.LogSource.Service}}
	if s.Tags == nil {
		s.Tags = []string{}
	}
	if !r.Expires.IsZero() {
		s.Expires = &r.Expires
	}
	return s
}

// ReadDetails returns the details of a rule that was loaded from sources.
func ReadDetails(sources []Source, set *LoadedRules, r RuleInfo, enabled bool) (RuleDetails, error) {
	files, err := readFiles(sources)
	if err != nil {
		return RuleDetails{}, err
	}
	return set.details(files, r, enabled), nil
}

// Details returns the details of a rule, or picket.ErrNotFound. It reads the rule files.
func (l *Loader) Details(_ context.Context, id string) (RuleDetails, error) {
	set, _ := l.Status()
	r, enabled := set.find(id)
	if r.Meta == nil {
		return RuleDetails{}, fmt.Errorf("read rule %s: %w", id, picket.ErrNotFound)
	}
	files, _, err := l.source.read()
	if err != nil {
		return RuleDetails{}, fmt.Errorf("read rule %s: %w", id, err)
	}
	return set.details(files, r, enabled), nil
}

// find returns the rule with an id; without Meta if there is none.
func (set *LoadedRules) find(id string) (r RuleInfo, enabled bool) {
	same := func(r RuleInfo) bool { return r.ID == id }
	if i := slices.IndexFunc(set.Enabled, same); i >= 0 {
		return set.Enabled[i], true
	}
	if i := slices.IndexFunc(set.Disabled, same); i >= 0 {
		return set.Disabled[i], false
	}
	return RuleInfo{}, false
}

func (set *LoadedRules) details(files []ruleFile, r RuleInfo, enabled bool) RuleDetails {
	d := RuleDetails{RuleSummary: r.Summary(enabled), Description: r.Description, Author: r.Author, References: append([]string{}, r.References...),
		FalsePositives: append([]string{}, r.FalsePositives...), Filters: []FilterSummary{}}
	if i := slices.IndexFunc(files, func(f ruleFile) bool { return f.Name == r.File }); i >= 0 {
		d.Text = documentStartingAt(files[i].Data, r.Line)
	}
	rule := slices.IndexFunc(set.Effective.Rules, func(x *ast.Rule) bool { return x.ID == r.ID })
	if rule < 0 {
		return d
	}
	for _, f := range set.Effective.Filters {
		if info, on := set.find(f.ID); on && f.AppliesTo(set.Effective.Rules[rule]) && (set.reaches == nil || set.reaches(f, set.Effective.Rules[rule])) {
			d.Filters = append(d.Filters, FilterSummary{info.Summary(true), f.Description, f.Author, comparisons(&f.Detections)})
		}
	}
	return d
}

// comparisons returns the fields and values of searches, as in "User: joe, root".
func comparisons(d *ast.Detections) []string {
	texts := []string{}
	for it := range d.TopLevelItems() {
		values := make([]string, len(it.Values))
		for i, v := range it.Values {
			values[i] = v.Text
		}
		name := cmp.Or(it.Field, "keywords")
		for _, m := range it.Modifiers {
			name += "|" + m
		}
		texts = append(texts, name+": "+strings.Join(values, ", "))
	}
	return texts
}

// documentStartingAt returns the text of the YAML document that starts on a line.
func documentStartingAt(data []byte, line int) string {
	lines := bytes.SplitAfter(data, []byte("\n"))
	start := min(max(line-1, 0), len(lines))
	end := start
	for end < len(lines) && !(end > start && bytes.HasPrefix(lines[end], []byte("---"))) {
		end++
	}
	return string(bytes.Join(lines[start:end], nil))
}
