package sigma

import (
	"regexp/syntax"
	"strings"
)

// regexChecks look at regular expressions that compile.
var regexChecks = []check{
	{LintCheck: LintCheck{"regex_never", LintWarning, "a regular expression that can't match"}, value: eachRegex(func(l *linter, d *lintDoc, s *scalar, t *syntax.Regexp) {
		if impossible(t, false, false) {
			l.add(d, s.place, "^ matches at the beginning only, and $ at the end", "the expression %q can't match", s.text)
		}
	})},
	{LintCheck: LintCheck{"regex_always", LintWarning, "a regular expression that every value matches"}, value: eachRegex(func(l *linter, d *lintDoc, s *scalar, t *syntax.Regexp) {
		if always(t) {
			l.add(d, s.place, "it need not match all of the value; write exists", "every value matches the expression %q", s.text)
		}
	})},
	{LintCheck: LintCheck{"regex_literal", LintInfo, "a regular expression that is a plain text"}, value: eachRegex(func(l *linter, d *lintDoc, s *scalar, t *syntax.Regexp) {
		if how := plainText(t); how != "" {
			l.add(d, s.place, "write "+how+", which is faster", "the expression %q is a plain text", s.text)
		}
	})},
	{LintCheck: LintCheck{"regex_star", LintInfo, ".* at an end of a regular expression, which is not anchored"}, value: eachRegex(func(l *linter, d *lintDoc, s *scalar, t *syntax.Regexp) {
		if strings.HasPrefix(s.text, ".*") && len(s.text) > 2 || strings.HasSuffix(s.text, ".*") && !strings.HasSuffix(s.text, `\.*`) && len(s.text) > 2 {
			l.add(d, s.place, "leave it out", ".* at an end of %q changes nothing", s.text)
		}
	})},
	{LintCheck: LintCheck{"regex_slow", LintInfo, "a regular expression without a text that every match holds"}, value: eachRegex(func(l *linter, d *lintDoc, s *scalar, t *syntax.Regexp) {
		if r, err := compileRegex(s.text, ""); err == nil && r.least == 0 && r.ordered == nil && r.gates == nil && !always(t) {
			l.add(d, s.place, "join it by and to something simpler, which is asked first", "the expression %q must be run on every value", s.text)
		}
	})},
}

// eachRegex passes over expressions that do not compile: Compile says so.
func eachRegex(f func(l *linter, d *lintDoc, s *scalar, t *syntax.Regexp)) func(*linter, *lintDoc, *item, *scalar) {
	return func(l *linter, d *lintDoc, it *item, s *scalar) {
		if !it.has("re") || it.has("expand") || s.kind == Null {
			return
		}
		flags := syntax.Perl
		if it.hasAny("m", "multiline") {
			flags &^= syntax.OneLine
		}
		if it.hasAny("s", "dotall") {
			flags |= syntax.DotNL
		}
		if it.hasAny("i", "ignorecase") {
			flags |= syntax.FoldCase
		}
		if t, err := syntax.Parse(s.text, flags); err == nil {
			f(l, d, s, t)
		}
	}
}

// impossible reports whether t can't match when something must stand before
// it, or behind it, in the text.
func impossible(t *syntax.Regexp, before, after bool) bool {
	switch t.Op {
	case syntax.OpNoMatch:
		return true
	case syntax.OpBeginText:
		return before
	case syntax.OpEndText:
		return after
	case syntax.OpCapture, syntax.OpPlus:
		return impossible(t.Sub[0], before, after)
	case syntax.OpRepeat:
		return t.Min > 0 && impossible(t.Sub[0], before, after)
	case syntax.OpAlternate:
		for _, s := range t.Sub {
			if !impossible(s, before, after) {
				return false
			}
		}
		return true
	case syntax.OpConcat:
		sizes := make([]int, len(t.Sub))
		for i, s := range t.Sub {
			sizes[i] = minSize(s)
		}
		for i, s := range t.Sub {
			b, a := before, after
			for k, n := range sizes {
				b, a = b || k < i && n > 0, a || k > i && n > 0
			}
			if impossible(s, b, a) {
				return true
			}
		}
	}
	return false
}

// always reports whether t matches the empty text anywhere.
func always(t *syntax.Regexp) bool {
	switch t.Op {
	case syntax.OpEmptyMatch, syntax.OpStar, syntax.OpQuest:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return always(t.Sub[0])
	case syntax.OpRepeat:
		return t.Min == 0 || always(t.Sub[0])
	case syntax.OpAlternate:
		for _, s := range t.Sub {
			if always(s) {
				return true
			}
		}
	case syntax.OpConcat:
		// ^.*$ needs a value without a newline; near enough to always.
		for i, s := range t.Sub {
			anchor := s.Op == syntax.OpBeginText && i == 0 || s.Op == syntax.OpEndText && i == len(t.Sub)-1 && i > 0 && t.Sub[i-1].Op == syntax.OpStar && isAnyChar(t.Sub[i-1].Sub[0])
			if !anchor && !always(s) {
				return false
			}
		}
		return true
	}
	return false
}

func isAnyChar(t *syntax.Regexp) bool {
	return t.Op == syntax.OpAnyChar || t.Op == syntax.OpAnyCharNotNL
}

// plainText returns the modifier that would do for t, "" if none would.
func plainText(t *syntax.Regexp) string {
	subs := []*syntax.Regexp{t}
	if t.Op == syntax.OpConcat {
		subs = t.Sub
	}
	begin, end := subs[0].Op == syntax.OpBeginText, subs[len(subs)-1].Op == syntax.OpEndText
	if begin {
		subs = subs[1:]
	}
	if end && len(subs) > 0 {
		subs = subs[:len(subs)-1]
	}
	if len(subs) != 1 || subs[0].Op != syntax.OpLiteral {
		return ""
	}
	how := "the text without a modifier"
	switch {
	case !begin && !end:
		how = "contains"
	case !end:
		how = "startswith"
	case !begin:
		how = "endswith"
	}
	if subs[0].Flags&syntax.FoldCase == 0 {
		how += ", and cased where case matters"
	}
	return how
}
