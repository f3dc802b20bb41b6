package lint

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/casefold"
	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// itemChecks check items: a field, modifiers and values. Combinations of
// modifiers that have no meaning are errors of sigma.Compile.
var itemChecks = []check{
	{Check: Check{"all_without_part", Warning, "all where a value would have to equal several strings at once"}, item: checkAllNeedsPartialMatch},
	{Check: Check{"base64offset_whole", Warning, "base64offset without contains: the encoded text is part of a value"}, item: func(l *linter, d *document, it *ast.DetectionItem) {
		if it.Has("base64offset") && !it.Has("contains") {
			l.addFinding(d, it.Position, "add the modifier contains", "base64offset of %s compares with the whole value", it.Label())
		}
	}},
	{Check: Check{"repeated_modifier", Warning, "a repeated modifier other than base64"}, item: func(l *linter, d *document, it *ast.DetectionItem) {
		for i, m := range it.Modifiers {
			if m != "base64" && slices.Contains(it.Modifiers[:i], m) {
				l.addFinding(d, it.Position, "", "the modifier %s is repeated", m)
			}
		}
	}},
	{Check: Check{"field_space", Info, "spaces in or around the name of a field"}, item: func(l *linter, d *document, it *ast.DetectionItem) {
		if strings.ContainsAny(it.Field, " \t") {
			l.addFinding(d, it.Position, "Sigma's names of Windows fields have no spaces", "the field %q has a space in it", it.Field)
		}
	}},
	{Check: Check{"duplicate_value", Warning, "a repeated value"}, item: checkDuplicateValues},
	{Check: Check{"shadowed_value", Info, "a value that is redundant beside a shorter one of the list"}, item: checkShadowedValues},
	{Check: Check{"wildcard_modifier", Info, "stars at the ends of values where contains, startswith or endswith would do"}, item: checkStarsForModifier},
	{Check: Check{"non_ascii", Info, "characters that are not ASCII, which some editors change unnoticed"}, item: func(l *linter, d *document, it *ast.DetectionItem) {
		for _, v := range it.Values { // the first is enough
			if strings.IndexFunc(v.Text, func(r rune) bool { return r > 126 }) >= 0 {
				l.addFinding(d, v.Position, "", "%q contains characters that are not ASCII", v.Text)
				return
			}
		}
	}},
}

func checkAllNeedsPartialMatch(l *linter, d *document, it *ast.DetectionItem) {
	if it.Keyword || !it.Has("all") || len(it.Values) < 2 || it.HasAny("contains", "re", "startswith", "endswith", "cidr", "lt", "lte", "gt", "gte", "neq") {
		return
	}
	for _, v := range it.Values {
		if v.Kind == ast.String && pattern.Parse(v.Text, false).HasWildcard() {
			return
		}
	}
	l.addFinding(d, it.Position, "add the modifier contains", "no single value of %s can equal all of these", it.Label())
}

// valueEqualityKey returns the same text for values of an item that are equal.
func valueEqualityKey(it *ast.DetectionItem, v ast.Scalar) string {
	if it.HasAny("cased", "re", "base64", "base64offset") || v.Kind != ast.String {
		return v.Kind.String() + v.Text
	}
	return v.Kind.String() + casefold.String(v.Text)
}

func checkDuplicateValues(l *linter, d *document, it *ast.DetectionItem) {
	if len(it.Values) < 2 {
		return
	}
	seen := make(map[string]bool, len(it.Values))
	for _, v := range it.Values {
		key := valueEqualityKey(it, v)
		if seen[key] {
			l.addFinding(d, v.Position, "", "the value %q is repeated", v.Text)
		}
		seen[key] = true
	}
}

// maxShadowCheckValues is the length of lists up to which each value is compared with
// each other.
const maxShadowCheckValues = 256

// checkShadowedValues finds values of a list that make no difference: with contains,
// "abc" beside "ab"; under all, "ab" beside "abc".
func checkShadowedValues(l *linter, d *document, it *ast.DetectionItem) {
	implies := shadowPredicate(it)
	if implies == nil || len(it.Values) < 2 || len(it.Values) > maxShadowCheckValues {
		return
	}
	texts := make([]string, len(it.Values))
	for i, v := range it.Values {
		if v.Kind != ast.String || pattern.Parse(v.Text, false).HasWildcard() {
			return
		}
		texts[i] = pattern.Parse(v.Text, false).TextWithoutWildcards()
		if !it.Has("cased") {
			texts[i] = casefold.String(texts[i])
		}
	}
	all := it.Has("all")
	for i, long := range texts {
		for k, short := range texts {
			if i == k || len(short) >= len(long) || !implies(long, short) {
				continue
			}
			if all {
				l.addFinding(d, it.Values[k].Position, "remove it", "%q is part of %q, which is required too", it.Values[k].Text, it.Values[i].Text)
			} else {
				l.addFinding(d, it.Values[i].Position, "remove it", "%q matches only where %q does", it.Values[i].Text, it.Values[k].Text)
			}
			break
		}
	}
}

// shadowPredicate returns a test of whether any value that long matches is also
// matched by short, or nil if that does not follow from the two strings.
func shadowPredicate(it *ast.DetectionItem) func(long, short string) bool {
	if it.HasAny("re", "cidr", "fieldref", "expand", "windash", "base64", "base64offset", "wide", "utf16", "utf16le", "utf16be", "neq") {
		return nil
	}
	switch {
	case it.Has("contains"):
		return strings.Contains
	case it.Has("startswith"):
		return strings.HasPrefix
	case it.Has("endswith"):
		return strings.HasSuffix
	case it.Keyword:
		return strings.Contains
	}
	return nil
}

// checkStarsForModifier finds items whose values all have stars at the same ends, and
// nowhere else.
func checkStarsForModifier(l *linter, d *document, it *ast.DetectionItem) {
	if it.Keyword || it.HasAny("contains", "startswith", "endswith", "re", "cidr", "expand", "fieldref", "exists") || len(it.Values) == 0 {
		return
	}
	modifier := ""
	for _, v := range it.Values {
		m := modifierForStars(pattern.Parse(v.Text, false))
		if v.Kind != ast.String || m == "" || modifier != "" && m != modifier {
			return
		}
		modifier = m
	}
	l.addFinding(d, it.Position, "write "+it.Field+"|"+modifier+" without the stars", "the stars of %s mean the same as %s", it.Label(), modifier)
}

func modifierForStars(p pattern.Pattern) string {
	switch {
	case len(p) == 3 && p[0].Kind == pattern.Star && p[1].Kind == pattern.Literal && p[2].Kind == pattern.Star:
		return "contains"
	case len(p) == 2 && p[0].Kind == pattern.Star && p[1].Kind == pattern.Literal:
		return "endswith"
	case len(p) == 2 && p[0].Kind == pattern.Literal && p[1].Kind == pattern.Star:
		return "startswith"
	}
	return ""
}
