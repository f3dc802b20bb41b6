package regexprefilter

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/picket-edr/picket/sigma/casefold"
)

// A literalInfo is what is known about the folded strings that a part of a
// regular expression matches.
type literalInfo struct {
	exact    []string   // if not nil, the string is one of these
	required [][]string // the string contains at least one of each set
}

const (
	maxExactStrings = 24 // strings of exact
	maxRequiredSets = 4  // that are worth testing
)

// requiredSets returns the required sets, of which exact may be one, the most
// selective first.
func (n literalInfo) requiredSets() [][]string {
	sets := slices.Clone(n.required)
	if isNonTrivial(n.exact) {
		sets = append(sets, n.exact)
	}
	slices.SortStableFunc(sets, func(a, b []string) int { return selectivityScore(b) - selectivityScore(a) })
	return sets[:min(len(sets), maxRequiredSets)]
}

func isNonTrivial(set []string) bool { return len(set) > 0 && !slices.Contains(set, "") }

// selectivityScore is higher for sets that fewer strings contain.
func selectivityScore(set []string) int {
	shortest := len(set[0])
	for _, s := range set {
		shortest = min(shortest, len(s))
	}
	return 8*min(shortest, 16) - len(set)
}

// analyze works bottom-up on a parsed expression.
func analyze(t *syntax.Regexp) literalInfo {
	switch t.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return literalInfo{exact: []string{""}}
	case syntax.OpLiteral:
		if slices.Contains(t.Rune, utf8.RuneError) {
			return literalInfo{}
		}
		return literalInfo{exact: []string{casefold.String(string(t.Rune))}}
	case syntax.OpCharClass:
		return analyzeClass(t.Rune)
	case syntax.OpCapture:
		return analyze(t.Sub[0])
	case syntax.OpQuest:
		sub := analyze(t.Sub[0])
		if sub.exact == nil || len(sub.exact) >= maxExactStrings {
			return literalInfo{}
		}
		return literalInfo{exact: union(sub.exact, []string{""})}
	case syntax.OpPlus:
		return literalInfo{required: analyze(t.Sub[0]).requiredSets()}
	case syntax.OpRepeat:
		return analyzeRepeat(t)
	case syntax.OpConcat:
		return analyzeConcat(t.Sub)
	case syntax.OpAlternate:
		return analyzeAlternate(t.Sub)
	}
	return literalInfo{}
}

// analyzeClass knows classes of a few runes.
func analyzeClass(ranges []rune) literalInfo {
	var exact []string
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i+1]-ranges[i] > 8 {
			return literalInfo{}
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if r == utf8.RuneError {
				return literalInfo{}
			}
			exact = union(exact, []string{string(casefold.Rune(r))})
		}
		if len(exact) > 5 {
			return literalInfo{}
		}
	}
	return literalInfo{exact: exact}
}

func analyzeRepeat(t *syntax.Regexp) literalInfo {
	if t.Min == 0 {
		return literalInfo{}
	}
	sub := analyze(t.Sub[0])
	if t.Min == 1 && t.Max == 1 {
		return sub
	}
	if len(sub.exact) != 1 || t.Min > 8 {
		return literalInfo{required: sub.requiredSets()}
	}
	text := strings.Repeat(sub.exact[0], t.Min)
	if t.Max == t.Min {
		return literalInfo{exact: []string{text}}
	}
	if text == "" {
		return literalInfo{}
	}
	return literalInfo{required: [][]string{{text}}}
}

// analyzeConcat multiplies adjacent exact sets while the product is small.
func analyzeConcat(subs []*syntax.Regexp) literalInfo {
	var out literalInfo
	exact, isWhole := []string{""}, true
	cut := func() {
		if isNonTrivial(exact) {
			out.required = append(out.required, exact)
		}
		exact, isWhole = []string{""}, false
	}
	for _, s := range subs {
		sub := analyze(s)
		if sub.exact == nil {
			cut()
			out.required = append(out.required, sub.required...)
			continue
		}
		if len(exact)*len(sub.exact) > maxExactStrings {
			cut()
		}
		exact = concatenations(exact, sub.exact)
	}
	if isWhole {
		return literalInfo{exact: exact}
	}
	cut()
	return out
}

func analyzeAlternate(subs []*syntax.Regexp) literalInfo {
	exact := []string{}
	var set []string
	for _, s := range subs {
		sub := analyze(s)
		if sub.exact == nil || exact == nil || len(exact)+len(sub.exact) > maxExactStrings {
			exact = nil
		} else {
			exact = union(exact, sub.exact)
		}
		best := sub.requiredSets()
		if len(best) == 0 {
			set = append(set, "")
		} else {
			set = union(set, best[0])
		}
	}
	if exact != nil {
		return literalInfo{exact: exact}
	}
	if !isNonTrivial(set) || len(set) > 2*maxExactStrings {
		return literalInfo{}
	}
	return literalInfo{required: [][]string{set}}
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// concatenations returns the concatenations of each string of a and each of b.
func concatenations(a, b []string) []string {
	var out []string
	for _, x := range a {
		for _, y := range b {
			if s := x + y; !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}
