package lint

import (
	"regexp"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/pattern"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// valueChecks check single values that are strings with wildcards.
var valueChecks = []check{
	{Check: Check{"control_character", Warning, "a control character, as \"\\t\" is in double quotes"}, value: eachTextValue(func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		if i := strings.IndexFunc(s.Text, func(r rune) bool { return r < 32 && r != '\n' || r == 127 }); i >= 0 {
			l.addFinding(d, s.Position, yamldoc.BackslashQuotesHint, "%q contains a control character", s.Text)
		}
	})},
	{Check: Check{"double_wildcard", Warning, "two stars in a row"}, value: eachTextValue(func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		p := pattern.Parse(s.Text, false)
		for i := 1; i < len(p); i++ {
			if p[i].Kind == pattern.Star && p[i-1].Kind == pattern.Star {
				l.addFinding(d, s.Position, "one is enough", "%q has two stars in a row", s.Text)
				return
			}
		}
	})},
	{Check: Check{"redundant_wildcard", Info, "a star at an end that contains, startswith or endswith leaves open already"}, value: eachTextValue(checkRedundantStar)},
	{Check: Check{"escaped_wildcard", Info, "a backslash that makes a wildcard literal"}, value: eachTextValue(func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		for _, q := range pattern.Parse(s.Text, false) {
			if q.Kind == pattern.Literal && strings.ContainsAny(q.Text, "*?") {
				l.addFinding(d, s.Position, `write \\* for a backslash and a wildcard`, "in %q, a backslash makes a wildcard literal", s.Text)
				return
			}
		}
	})},
	{Check: Check{"mixed_backslashes", Info, "single backslashes written both as one and as two"}, value: eachTextValue(func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		if hasMixedBackslashes(s.Text) {
			l.addFinding(d, s.Position, `a backslash may be written as one or as two; write \\\\ for two`, "%q writes a backslash in two ways", s.Text)
		}
	})},
	{Check: Check{"presence_star", Info, "a star alone, which means the same as exists"}, value: eachTextValue(func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		if p := pattern.Parse(s.Text, false).Canonical(); len(p) == 1 && p[0].Kind == pattern.Star && !it.Keyword {
			l.addFinding(d, s.Position, "write "+it.Field+"|exists: true", "a star alone means that %s is present", it.Label())
		}
	})},
	{Check: Check{"empty_part", Warning, "an empty string under contains, startswith or endswith, which always holds"}, value: eachTextValue(func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		if s.Text == "" && it.HasAny("contains", "startswith", "endswith") {
			l.addFinding(d, s.Position, "", "every value of %s contains the empty string", it.Label())
		}
	})},
	{Check: Check{"number_as_text", Info, "a whole number in quotes"}, value: eachTextValue(func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		if wholeNumberPattern.MatchString(s.Text) && !it.Keyword && len(it.Modifiers) == 0 {
			l.addFinding(d, s.Position, "without quotes it equals 1.0 too", "the number %s is written as a string", s.Text)
		}
	})},
}

var wholeNumberPattern = regexp.MustCompile(`^-?(0|[1-9]\d*)$`)

// eachTextValue returns a check that calls f for each value that is a Sigma
// string.
func eachTextValue(f func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar)) func(*linter, *document, *ast.DetectionItem, *ast.Scalar) {
	return func(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
		if s.Kind == ast.String && !it.HasAny("re", "cidr", "fieldref") {
			f(l, d, it, s)
		}
	}
}

func checkRedundantStar(l *linter, d *document, it *ast.DetectionItem, s *ast.Scalar) {
	p := pattern.Parse(s.Text, false)
	if len(p) < 2 {
		return
	}
	first, last := p[0].Kind == pattern.Star, p[len(p)-1].Kind == pattern.Star
	switch {
	case it.Has("contains") && (first || last), it.Has("startswith") && last, it.Has("endswith") && first, it.Keyword && len(it.Modifiers) == 0 && (first || last):
		l.addFinding(d, s.Position, "remove it", "a star at an end of %q changes nothing", s.Text)
	}
}

// hasMixedBackslashes reports whether a string contains both single and double
// backslashes. Leading ones do not count: two begin the name of a share.
func hasMixedBackslashes(s string) bool {
	one, two := false, false
	s = strings.TrimLeft(s, `\*`)
	for i := 0; i < len(s); i++ {
		n := 0
		for i+n < len(s) && s[i+n] == '\\' {
			n++
		}
		// Before a wildcard, a backslash must be doubled.
		if n > 0 && (i+n == len(s) || !pattern.IsSpecial(s[i+n])) {
			one, two = one || n == 1, two || n == 2
		}
		i += n
	}
	return one && two
}
