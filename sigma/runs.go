package sigma

import (
	"regexp/syntax"
	"unicode/utf8"
)

// A byteRun is count bytes of a class next to each other.
type byteRun struct {
	class [256]bool
	count int
}

// in reports whether s holds the run.
func (r *byteRun) in(s string) bool {
	for end := r.count; end <= len(s); {
		i := end - 1
		for i >= end-r.count && r.class[s[i]] {
			i--
		}
		if i < end-r.count {
			return true
		}
		end = i + 1 + r.count
	}
	return false
}

const (
	minRun  = 5 // shorter ones are everywhere
	maxRuns = 2
)

// runsOf appends the runs that every match of t holds.
func runsOf(runs []byteRun, t *syntax.Regexp) []byteRun {
	switch t.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return runsOf(runs, t.Sub[0])
	case syntax.OpConcat:
		for _, s := range t.Sub {
			runs = runsOf(runs, s)
		}
	case syntax.OpRepeat:
		if class := uncapture(t.Sub[0]); class.Op == syntax.OpCharClass && t.Min >= minRun && len(runs) < maxRuns {
			run := byteRun{count: t.Min}
			for i := 0; i+1 < len(class.Rune); i += 2 {
				if class.Rune[i+1] >= utf8.RuneSelf {
					return runs
				}
				for r := class.Rune[i]; r <= class.Rune[i+1]; r++ {
					run.class[r] = true
				}
			}
			return append(runs, run)
		}
		if t.Min > 0 {
			return runsOf(runs, t.Sub[0])
		}
	}
	return runs
}

// minSize returns how many bytes a match of t has at least.
func minSize(t *syntax.Regexp) int {
	switch t.Op {
	case syntax.OpLiteral:
		// A rune may match one of fewer bytes without case, and one that stands
		// for bytes that are no UTF-8.
		return len(t.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpCapture, syntax.OpPlus:
		return minSize(t.Sub[0])
	case syntax.OpRepeat:
		return t.Min * minSize(t.Sub[0])
	case syntax.OpConcat:
		sum := 0
		for _, s := range t.Sub {
			sum += minSize(s)
		}
		return sum
	case syntax.OpAlternate:
		least := minSize(t.Sub[0])
		for _, s := range t.Sub[1:] {
			least = min(least, minSize(s))
		}
		return least
	}
	return 0
}
