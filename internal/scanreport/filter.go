package scanreport

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// A Filter selects matches. Its zero value selects all; of each list that is not empty,
// one element must fit. Patterns have * and ?, and ignore case.
type Filter struct {
	Since, Until time.Time // of the events; those without a time are left out, if either is set
	MinLevel     sigma.Level
	ExactLevels  []sigma.Level
	Statuses     []string
	Tags         []string // patterns of tags, with or without "attack."
	Rules        []string // patterns of ids and titles
	Categories   []string // patterns of the rule's logsource: its category, its service, or all of it
	EventIDs     []string // of Windows
	Hosts        []string // patterns
	Excluded     map[string]bool
	Levels       map[string]sigma.Level // instead of the rules' own, by id
}

func (f *Filter) selects(r *row) bool {
	if !f.Since.IsZero() && r.Time.Before(f.Since) || !f.Until.IsZero() && (r.Time.IsZero() || !r.Time.Before(f.Until)) {
		return false
	}
	var status string
	var categories []string
	if r.rule != nil {
		status = r.rule.Status
		l := r.rule.LogSource
		categories = []string{l.Category, l.Service, l.String()}
	}
	tags := slices.Clone(r.Tags)
	for _, tag := range r.Tags {
		if id, ok := attackTag(tag); ok {
			tags = append(tags, id)
		}
	}
	return r.Level >= f.MinLevel && !f.Excluded[r.RuleID] &&
		(len(f.ExactLevels) == 0 || slices.Contains(f.ExactLevels, r.Level)) &&
		anyMatches(f.Statuses, status) && anyMatches(f.Tags, tags...) && anyMatches(f.Rules, r.RuleID, r.Title) &&
		anyMatches(f.Categories, categories...) && anyMatches(f.EventIDs, r.field("EventID")) && anyMatches(f.Hosts, r.Host)
}

// anyMatches reports whether a pattern matches a text, or there are no patterns.
func anyMatches(patterns []string, texts ...string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, p := range patterns {
		for _, text := range texts {
			if matchesPattern(strings.ToLower(p), strings.ToLower(text)) {
				return true
			}
		}
	}
	return false
}

// matchesPattern reports whether a pattern with * and ? matches all of a text.
func matchesPattern(pattern, text string) bool {
	escape := strings.NewReplacer(`\`, `\\`, `[`, `\[`, "/", "\x00")
	ok, err := path.Match(escape.Replace(pattern), strings.ReplaceAll(text, "/", "\x00"))
	return err == nil && ok
}
