package regexprefilter

import (
	"regexp/syntax"
	"unicode/utf8"
)

// A byteClassRun is a number of consecutive bytes that all belong to a class.
type byteClassRun struct {
	class  [256]bool
	length int
}

// occursIn reports whether s contains the run.
func (r *byteClassRun) occursIn(s string) bool {
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
	minRunBytes     = 5 // shorter runs are in most values
	maxRequiredRuns = 2
)

// appendRequiredRuns appends the runs that every match of t contains.
func appendRequiredRuns(runs []byteClassRun, t *syntax.Regexp) []byteClassRun {
	switch t.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return appendRequiredRuns(runs, t.Sub[0])
	case syntax.OpConcat:
		for _, s := range t.Sub {
			runs = appendRequiredRuns(runs, s)
		}
	case syntax.OpRepeat:
		if class := uncapture(t.Sub[0]); class.Op == syntax.OpCharClass && t.Min >= minRunBytes && len(runs) < maxRequiredRuns {
			run := byteClassRun{length: t.Min}
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
			return appendRequiredRuns(runs, t.Sub[0])
		}
	}
	return runs
}

// MinMatchBytes returns the least number of bytes that a match of t has.
func MinMatchBytes(t *syntax.Regexp) int {
	switch t.Op {
	case syntax.OpLiteral:
		// Each rune counts as one byte: without case, a rune may match one of
		// fewer bytes, and U+FFFD matches a byte that is not UTF-8.
		return len(t.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpCapture, syntax.OpPlus:
		return MinMatchBytes(t.Sub[0])
	case syntax.OpRepeat:
		return t.Min * MinMatchBytes(t.Sub[0])
	case syntax.OpConcat:
		sum := 0
		for _, s := range t.Sub {
			sum += MinMatchBytes(s)
		}
		return sum
	case syntax.OpAlternate:
		least := MinMatchBytes(t.Sub[0])
		for _, s := range t.Sub[1:] {
			least = min(least, MinMatchBytes(s))
		}
		return least
	}
	return 0
}
