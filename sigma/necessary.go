package sigma

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// A necessity is what is known of the folded texts that a piece of a regular
// expression matches.
type necessity struct {
	exact []string   // if not nil, the text is one of these
	sets  [][]string // the text contains at least one of each
}

const (
	maxExact = 24 // strings in an exact set
	maxGates = 4  // sets that are worth testing
)

// all returns the sets, the exact one among them, best first.
func (n necessity) all() [][]string {
	sets := n.sets
	if useful(n.exact) {
		sets = append(slices.Clone(sets), n.exact)
	}
	sets = slices.Clone(sets)
	slices.SortStableFunc(sets, func(a, b []string) int { return score(b) - score(a) })
	return sets[:min(len(sets), maxGates)]
}

func useful(set []string) bool { return len(set) > 0 && !slices.Contains(set, "") }

// score is higher for sets that are found in fewer texts.
func score(set []string) int {
	shortest := len(set[0])
	for _, s := range set {
		shortest = min(shortest, len(s))
	}
	return 8*min(shortest, 16) - len(set)
}

// necessaryOf works bottom up on a parsed expression.
func necessaryOf(t *syntax.Regexp) necessity {
	switch t.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return necessity{exact: []string{""}}
	case syntax.OpLiteral:
		if slices.Contains(t.Rune, utf8.RuneError) {
			return necessity{}
		}
		return necessity{exact: []string{fold(string(t.Rune))}}
	case syntax.OpCharClass:
		return classNecessity(t.Rune)
	case syntax.OpCapture:
		return necessaryOf(t.Sub[0])
	case syntax.OpQuest:
		sub := necessaryOf(t.Sub[0])
		if sub.exact == nil || len(sub.exact) >= maxExact {
			return necessity{}
		}
		return necessity{exact: unite(sub.exact, []string{""})}
	case syntax.OpPlus:
		return necessity{sets: necessaryOf(t.Sub[0]).all()}
	case syntax.OpRepeat:
		return repeatNecessity(t)
	case syntax.OpConcat:
		return concatNecessity(t.Sub)
	case syntax.OpAlternate:
		return alternateNecessity(t.Sub)
	}
	return necessity{}
}

func classNecessity(ranges []rune) necessity {
	var exact []string
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i+1]-ranges[i] > 8 {
			return necessity{}
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if r == utf8.RuneError {
				return necessity{}
			}
			exact = unite(exact, []string{string(foldRune(r))})
		}
		if len(exact) > 5 {
			return necessity{}
		}
	}
	return necessity{exact: exact}
}

func repeatNecessity(t *syntax.Regexp) necessity {
	if t.Min == 0 {
		return necessity{}
	}
	sub := necessaryOf(t.Sub[0])
	if t.Min == 1 && t.Max == 1 {
		return sub
	}
	if len(sub.exact) != 1 || t.Min > 8 {
		return necessity{sets: sub.all()}
	}
	text := strings.Repeat(sub.exact[0], t.Min)
	if t.Max == t.Min {
		return necessity{exact: []string{text}}
	}
	if text == "" {
		return necessity{}
	}
	return necessity{sets: [][]string{{text}}}
}

// concatNecessity multiplies neighbouring exact sets while they stay small.
func concatNecessity(subs []*syntax.Regexp) necessity {
	var out necessity
	run, whole := []string{""}, true
	cut := func() {
		if useful(run) {
			out.sets = append(out.sets, run)
		}
		run, whole = []string{""}, false
	}
	for _, s := range subs {
		sub := necessaryOf(s)
		if sub.exact == nil {
			cut()
			out.sets = append(out.sets, sub.sets...)
			continue
		}
		if len(run)*len(sub.exact) > maxExact {
			cut()
		}
		run = product(run, sub.exact)
	}
	if whole {
		return necessity{exact: run}
	}
	cut()
	return out
}

func alternateNecessity(subs []*syntax.Regexp) necessity {
	exact := []string{}
	var set []string
	for _, s := range subs {
		sub := necessaryOf(s)
		if sub.exact == nil || exact == nil || len(exact)+len(sub.exact) > maxExact {
			exact = nil
		} else {
			exact = unite(exact, sub.exact)
		}
		best := sub.all()
		if len(best) == 0 {
			set = append(set, "")
		} else {
			set = unite(set, best[0])
		}
	}
	if exact != nil {
		return necessity{exact: exact}
	}
	if !useful(set) || len(set) > 2*maxExact {
		return necessity{}
	}
	return necessity{sets: [][]string{set}}
}

func unite(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func product(a, b []string) []string {
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
