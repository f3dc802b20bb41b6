package lint

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/parser"
)

// conditionChecks check conditions and what they refer to.
var conditionChecks = []check{
	{Check: Check{"unused_search", Warning, "a search that no condition names"}, document: checkUnusedSearches},
	{Check: Check{"single_of", Info, "1 of, any of or all of where one search is selected"}, document: checkSingleMatchSelector},
	{Check: Check{"all_of_them", Info, "all of them, which a search that is added later becomes part of"}, document: eachSelector(func(l *linter, d *document, at ast.Position, quantifier, pattern string) {
		if quantifier == "all" && strings.EqualFold(pattern, "them") && len(d.detections.Searches) > 1 {
			l.addFinding(d, at, "write all of selection_*", "the condition is all of them")
		}
	})},
	{Check: Check{"selector_without_star", Info, "1 of or all of and the name of one search"}, document: eachSelector(func(l *linter, d *document, at ast.Position, quantifier, pattern string) {
		if !strings.Contains(pattern, "*") && !strings.EqualFold(pattern, "them") {
			l.addFinding(d, at, "write "+pattern+", or "+pattern+"*", "%s of %s selects one search", quantifier, pattern)
		}
	})},
	{Check: Check{"group_by", Info, "a correlation over the events of all hosts together"}, document: func(l *linter, d *document) {
		if d.correlation != nil && len(d.correlation.GroupBy) == 0 {
			l.addFindingAtKey(d, "correlation", "name a field in group-by, such as that of the host", "without group-by, the events of all hosts count together")
		}
	}},
}

func checkUnusedSearches(l *linter, d *document) {
	if d.detections == nil {
		return
	}
	used := make([]bool, len(d.detections.Searches))
	for i := range d.detections.Conditions {
		d.detections.Conditions[i].MarkUsedOperands(used)
	}
	for i, ok := range used {
		if !ok {
			s := &d.detections.Searches[i]
			l.addFinding(d, s.Position, "remove it, or name it in the condition", "no condition names the search %q", s.Name)
		}
	}
}

// eachSelector returns a check that calls f for each selector of the
// conditions, with "1", "any" or "all", and the pattern after of.
func eachSelector(f func(l *linter, d *document, at ast.Position, quantifier, pattern string)) func(*linter, *document) {
	return func(l *linter, d *document) {
		if d.detections == nil {
			return
		}
		for _, c := range d.detections.ConditionTexts {
			words := parser.ConditionTokens(c.Text)
			for i := 0; i+2 < len(words); i++ {
				if strings.EqualFold(words[i+1], "of") && slices.Contains([]string{"1", "any", "all"}, strings.ToLower(words[i])) {
					f(l, d, c.Position, strings.ToLower(words[i]), words[i+2])
				}
			}
		}
	}
}

func checkSingleMatchSelector(l *linter, d *document) {
	eachSelector(func(l *linter, d *document, at ast.Position, quantifier, written string) {
		pattern := written
		if strings.EqualFold(pattern, "them") {
			pattern = "*"
		}
		if !strings.Contains(pattern, "*") {
			return // selector_without_star reports it
		}
		n := 0
		for _, s := range d.detections.Searches {
			if parser.SelectorMatches(pattern, s.Name) {
				n++
			}
		}
		if n == 1 {
			l.addFinding(d, at, "write its name", "%s of %s selects one search", quantifier, written)
		}
	})(l, d)
}
