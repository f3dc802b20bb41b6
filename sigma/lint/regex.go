package lint

import (
	"regexp/syntax"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/regexprefilter"
)

// regexChecks check regular expressions that compile.
var regexChecks = []check{
	{Check: Check{"regex_never", Warning, "a regular expression that can't match"}, value: eachRegex(func(l *linter, d *document, s *ast.Scalar, t *syntax.Regexp) {
		if neverMatches(t, false, false) {
			l.addFinding(d, s.Position, "^ matches at the start only, and $ at the end", "the expression %q can't match", s.Text)
		}
	})},
	{Check: Check{"regex_always", Warning, "a regular expression that matches every value"}, value: eachRegex(func(l *linter, d *document, s *ast.Scalar, t *syntax.Regexp) {
		if matchesAnyText(t) {
			l.addFinding(d, s.Position, "it need not match the whole value; write exists", "the expression %q matches every value", s.Text)
		}
	})},
	{Check: Check{"regex_literal", Info, "a regular expression that is plain text"}, value: eachRegex(func(l *linter, d *document, s *ast.Scalar, t *syntax.Regexp) {
		if modifier := equivalentModifier(t); modifier != "" {
			l.addFinding(d, s.Position, "write "+modifier+", which is faster", "the expression %q is plain text", s.Text)
		}
	})},
	{Check: Check{"regex_star", Info, ".* at an end of a regular expression, which is not anchored"}, value: eachRegex(func(l *linter, d *document, s *ast.Scalar, t *syntax.Regexp) {
		if strings.HasPrefix(s.Text, ".*") && len(s.Text) > 2 || strings.HasSuffix(s.Text, ".*") && !strings.HasSuffix(s.Text, `\.*`) && len(s.Text) > 2 {
			l.addFinding(d, s.Position, "remove it", ".* at an end of %q changes nothing", s.Text)
		}
	})},
	{Check: Check{"regex_slow", Info, "a regular expression without a string that every match contains"}, value: eachRegex(func(l *linter, d *document, s *ast.Scalar, t *syntax.Regexp) {
		if r, err := regexprefilter.Compile(s.Text, ""); err == nil && !r.NeedsNoRegexp() && r.RequiredLiteralSets() == nil && !matchesAnyText(t) {
			l.addFinding(d, s.Position, "add a simpler condition, joined by and: it is evaluated first", "the expression %q must be run on every value", s.Text)
		}
	})},
}

// eachRegex returns a check that calls f for each expression that compiles. Of
// the others, sigma.Compile reports the errors.
func eachRegex(f func(l *linter, d *document, s *ast.Scalar, t *syntax.Regexp)) func(*linter, *document, *ast.DetectionItem, *ast.Scalar) {
	return func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		if !it.Has("re") || it.Has("expand") || s.Kind == ast.Null {
			return
		}
		flags := syntax.Perl
		if it.HasAny("m", "multiline") {
			flags &^= syntax.OneLine
		}
		if it.HasAny("s", "dotall") {
			flags |= syntax.DotNL
		}
		if it.HasAny("i", "ignorecase") {
			flags |= syntax.FoldCase
		}
		if t, err := syntax.Parse(s.Text, flags); err == nil {
			f(l, d, s, t)
		}
	}
}

// neverMatches reports whether t can't match if text must precede it, or follow
// it.
func neverMatches(t *syntax.Regexp, textBefore, textAfter bool) bool {
	switch t.Op {
	case syntax.OpNoMatch:
		return true
	case syntax.OpBeginText:
		return textBefore
	case syntax.OpEndText:
		return textAfter
	case syntax.OpCapture, syntax.OpPlus:
		return neverMatches(t.Sub[0], textBefore, textAfter)
	case syntax.OpRepeat:
		return t.Min > 0 && neverMatches(t.Sub[0], textBefore, textAfter)
	case syntax.OpAlternate:
		for _, s := range t.Sub {
			if !neverMatches(s, textBefore, textAfter) {
				return false
			}
		}
		return true
	case syntax.OpConcat:
		sizes := make([]int, len(t.Sub))
		for i, s := range t.Sub {
			sizes[i] = regexprefilter.MinMatchBytes(s)
		}
		for i, s := range t.Sub {
			b, a := textBefore, textAfter
			for k, n := range sizes {
				b, a = b || k < i && n > 0, a || k > i && n > 0
			}
			if neverMatches(s, b, a) {
				return true
			}
		}
	}
	return false
}

// matchesAnyText reports whether t matches in any text.
func matchesAnyText(t *syntax.Regexp) bool {
	switch t.Op {
	case syntax.OpEmptyMatch, syntax.OpStar, syntax.OpQuest:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return matchesAnyText(t.Sub[0])
	case syntax.OpRepeat:
		return t.Min == 0 || matchesAnyText(t.Sub[0])
	case syntax.OpAlternate:
		for _, s := range t.Sub {
			if matchesAnyText(s) {
				return true
			}
		}
	case syntax.OpConcat:
		// ^.*$ needs a value without a newline, which is nearly any.
		for i, s := range t.Sub {
			anchor := s.Op == syntax.OpBeginText && i == 0 || s.Op == syntax.OpEndText && i == len(t.Sub)-1 && i > 0 && t.Sub[i-1].Op == syntax.OpStar && isAnyChar(t.Sub[i-1].Sub[0])
			if !anchor && !matchesAnyText(s) {
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

// equivalentModifier returns the modifier that does the same as t, "" if none does.
func equivalentModifier(t *syntax.Regexp) string {
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
	modifier := "the string without a modifier"
	switch {
	case !begin && !end:
		modifier = "contains"
	case !end:
		modifier = "startswith"
	case !begin:
		modifier = "endswith"
	}
	if subs[0].Flags&syntax.FoldCase == 0 {
		modifier += ", and cased where case matters"
	}
	return modifier
}
