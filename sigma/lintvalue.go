package sigma

import (
	"regexp"
	"strings"
)

// valueChecks look at single values that are texts with wildcards.
var valueChecks = []check{
	{LintCheck: LintCheck{"control_character", LintWarning, "a control character, as \"\\t\" is in double quotes"}, value: eachText(func(l *linter, d *lintDoc, it *item, s *scalar) {
		if i := strings.IndexFunc(s.text, func(r rune) bool { return r < 32 && r != '\n' || r == 127 }); i >= 0 {
			l.add(d, s.place, "in double quotes, a backslash begins an escape of YAML; write single quotes", "%q holds a control character", s.text)
		}
	})},
	{LintCheck: LintCheck{"double_wildcard", LintWarning, "two stars in a row"}, value: eachText(func(l *linter, d *lintDoc, it *item, s *scalar) {
		p := parsePattern(s.text, false)
		for i := 1; i < len(p); i++ {
			if p[i].kind == star && p[i-1].kind == star {
				l.add(d, s.place, "one will do", "%q has two stars in a row", s.text)
				return
			}
		}
	})},
	{LintCheck: LintCheck{"redundant_wildcard", LintInfo, "a star at an end that contains, startswith or endswith leaves open anyway"}, value: eachText(checkRedundantStar)},
	{LintCheck: LintCheck{"escaped_wildcard", LintInfo, "a backslash that makes a wildcard literal"}, value: eachText(func(l *linter, d *lintDoc, it *item, s *scalar) {
		for _, q := range parsePattern(s.text, false) {
			if q.kind == literal && strings.ContainsAny(q.text, "*?") {
				l.add(d, s.place, `write \\* for a backslash and a wildcard`, "in %q, a backslash makes a wildcard an ordinary character", s.text)
				return
			}
		}
	})},
	{LintCheck: LintCheck{"mixed_backslashes", LintInfo, "one and two backslashes for one in a value"}, value: eachText(func(l *linter, d *lintDoc, it *item, s *scalar) {
		if mixedBackslashes(s.text) {
			l.add(d, s.place, `two backslashes stand for one, and so does one alone; write \\\\ for two`, "%q writes a backslash in two ways", s.text)
		}
	})},
	{LintCheck: LintCheck{"presence_star", LintInfo, "a star alone, which exists says"}, value: eachText(func(l *linter, d *lintDoc, it *item, s *scalar) {
		if p := parsePattern(s.text, false).canonical(); len(p) == 1 && p[0].kind == star && !it.keyword {
			l.add(d, s.place, "write "+it.field+"|exists: true", "a star alone asks whether %s is there", itemName(*it))
		}
	})},
	{LintCheck: LintCheck{"empty_part", LintWarning, "an empty text under contains, startswith or endswith, which holds always"}, value: eachText(func(l *linter, d *lintDoc, it *item, s *scalar) {
		if s.text == "" && it.hasAny("contains", "startswith", "endswith") {
			l.add(d, s.place, "", "every value of %s holds the empty text", itemName(*it))
		}
	})},
	{LintCheck: LintCheck{"number_as_text", LintInfo, "a whole number in quotes"}, value: eachText(func(l *linter, d *lintDoc, it *item, s *scalar) {
		if wholeNumber.MatchString(s.text) && !it.keyword && len(it.modifiers) == 0 {
			l.add(d, s.place, "without quotes it equals 1.0 too", "the number %s is written as a text", s.text)
		}
	})},
}

var wholeNumber = regexp.MustCompile(`^-?(0|[1-9]\d*)$`)

// eachText leaves out values that are no texts, or no patterns.
func eachText(f func(l *linter, d *lintDoc, it *item, s *scalar)) func(*linter, *lintDoc, *item, *scalar) {
	return func(l *linter, d *lintDoc, it *item, s *scalar) {
		if s.kind == String && !it.hasAny("re", "cidr", "fieldref") {
			f(l, d, it, s)
		}
	}
}

func checkRedundantStar(l *linter, d *lintDoc, it *item, s *scalar) {
	p := parsePattern(s.text, false)
	if len(p) < 2 {
		return
	}
	first, last := p[0].kind == star, p[len(p)-1].kind == star
	switch {
	case it.has("contains") && (first || last), it.has("startswith") && last, it.has("endswith") && first, it.keyword && len(it.modifiers) == 0 && (first || last):
		l.add(d, s.place, "leave it out", "a star at an end of %q changes nothing", s.text)
	}
}

// mixedBackslashes reports whether a text has, inside, runs of one backslash
// and of two. At its beginning, two are how shares are written.
func mixedBackslashes(s string) bool {
	one, two := false, false
	s = strings.TrimLeft(s, `\*`)
	for i := 0; i < len(s); i++ {
		n := 0
		for i+n < len(s) && s[i+n] == '\\' {
			n++
		}
		// What stands before a wildcard must be doubled.
		if n > 0 && (i+n == len(s) || !isSpecial(s[i+n])) {
			one, two = one || n == 1, two || n == 2
		}
		i += n
	}
	return one && two
}
