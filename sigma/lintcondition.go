package sigma

import (
	"slices"
	"strings"
)

// conditionChecks look at conditions and at what they name.
var conditionChecks = []check{
	{LintCheck: LintCheck{"unused_search", LintWarning, "a search that no condition names"}, document: checkUnused},
	{LintCheck: LintCheck{"single_of", LintInfo, "1 of, any of or all of where one search is selected"}, document: checkSingleOf},
	{LintCheck: LintCheck{"all_of_them", LintInfo, "all of them: a search that is added later is added to it"}, document: eachSelector(func(l *linter, d *lintDoc, at place, how, pat string) {
		if how == "all" && strings.EqualFold(pat, "them") && len(d.search.detections) > 1 {
			l.add(d, at, "write all of selection_*", "the condition is all of them")
		}
	})},
	{LintCheck: LintCheck{"selector_without_star", LintInfo, "1 of or all of and the name of one search"}, document: eachSelector(func(l *linter, d *lintDoc, at place, how, pat string) {
		if !strings.Contains(pat, "*") && !strings.EqualFold(pat, "them") {
			l.add(d, at, "write "+pat+", or "+pat+"*", "%s of %s selects one search", how, pat)
		}
	})},
	{LintCheck: LintCheck{"group_by", LintInfo, "a correlation over the events of all hosts together"}, document: func(l *linter, d *lintDoc) {
		if d.corr != nil && len(d.corr.GroupBy) == 0 {
			l.addAt(d, "correlation", "name a field in group-by, such as that of the host", "without group-by, the events of all hosts count together")
		}
	}},
}

func checkUnused(l *linter, d *lintDoc) {
	if d.search == nil {
		return
	}
	used := make([]bool, len(d.search.detections))
	for i := range d.search.conditions {
		d.search.conditions[i].mark(used)
	}
	for i, ok := range used {
		if !ok {
			s := &d.search.detections[i]
			l.add(d, s.place, "take it out, or name it in the condition", "no condition names the search %q", s.name)
		}
	}
}

// eachSelector calls f for each selector of the conditions, with "1", "any" or
// "all" and what stands behind of.
func eachSelector(f func(l *linter, d *lintDoc, at place, how, pat string)) func(*linter, *lintDoc) {
	return func(l *linter, d *lintDoc) {
		if d.search == nil {
			return
		}
		for _, c := range d.search.texts {
			words := condTokens(c.name)
			for i := 0; i+2 < len(words); i++ {
				if strings.EqualFold(words[i+1], "of") && slices.Contains([]string{"1", "any", "all"}, strings.ToLower(words[i])) {
					f(l, d, c.place, strings.ToLower(words[i]), words[i+2])
				}
			}
		}
	}
}

func checkSingleOf(l *linter, d *lintDoc) {
	eachSelector(func(l *linter, d *lintDoc, at place, how, pat string) {
		glob := pat
		if strings.EqualFold(pat, "them") {
			glob = "*"
		}
		if !strings.Contains(glob, "*") {
			return // selector_without_star
		}
		n := 0
		for _, s := range d.search.detections {
			if matchName(glob, s.name) && (!strings.HasPrefix(s.name, "_") || strings.HasPrefix(glob, "_")) {
				n++
			}
		}
		if n == 1 {
			l.add(d, at, "write its name", "%s of %s selects one search", how, pat)
		}
	})(l, d)
}
