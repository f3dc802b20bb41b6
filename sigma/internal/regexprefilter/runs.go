package regexprefilter

import (
	"regexp/syntax"
	"unicode/utf8"
)

// A classRun is a number of consecutive bytes that all belong to a class.
type classRun struct {
	class  [256]bool
	length int
}

// in reports whether s contains the run.
func (r *classRun) in(s string) bool {
	for end := r.length; end <= len(s); {
		i := end - 1
		for i >= end-r.length && r.class[s[i]] {
			i--
		}
		if i < end-r.length {
			return true
		}
		end = i + 1 + r.length
	}
	return false
}

const (
	minRunLength = 5 // shorter runs are in most values
	maxRuns      = 2
)

// appendRuns appends the runs that every match of t contains.
func appendRuns(runs []classRun, t *syntax.Regexp) []classRun {
	switch t.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return appendRuns(runs, t.Sub[0])
	case syntax.OpConcat:
		for _, s := range t.Sub {
			runs = appendRuns(runs, s)
		}
	case syntax.OpRepeat:
		if class := uncapture(t.Sub[0]); class.Op == syntax.OpCharClass && t.Min >= minRunLength && len(runs) < maxRuns {
			run := classRun{length: t.Min}
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
			return appendRuns(runs, t.Sub[0])
		}
	}
	return runs
}

// MinLength returns the least number of bytes that a match of t has.
func MinLength(t *syntax.Regexp) int {
	switch t.Op {
	case syntax.OpLiteral:
		// Each rune counts as one byte: without case, a rune may match one of
		// fewer bytes, and U+FFFD matches a byte that is not UTF-8.
		return len(t.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpCapture, syntax.OpPlus:
		return MinLength(t.Sub[0])
	case syntax.OpRepeat:
		return t.Min * MinLength(t.Sub[0])
	case syntax.OpConcat:
		sum := 0
		for _, s := range t.Sub {
			sum += MinLength(s)
		}
		return sum
	case syntax.OpAlternate:
		least := MinLength(t.Sub[0])
		for _, s := range t.Sub[1:] {
			least = min(least, MinLength(s))
		}
		return least
	}
	return 0
}
