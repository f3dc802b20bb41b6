package sigma

import (
	"slices"
	"strings"
)

// itemChecks look at items: a field, modifiers and values. Modifiers that
// can't be combined are errors of Compile.
var itemChecks = []check{
	{LintCheck: LintCheck{"all_without_part", LintWarning, "all where a value would have to equal several texts at once"}, item: checkAll},
	{LintCheck: LintCheck{"base64offset_whole", LintWarning, "base64offset without contains: the encoded text is part of a value"}, item: func(l *linter, d *lintDoc, it *item) {
		if it.has("base64offset") && !it.has("contains") {
			l.add(d, it.place, "add the modifier contains", "base64offset of %s compares with the whole value", itemName(*it))
		}
	}},
	{LintCheck: LintCheck{"repeated_modifier", LintWarning, "a modifier that is there twice, other than base64"}, item: func(l *linter, d *lintDoc, it *item) {
		for i, m := range it.modifiers {
			if m != "base64" && slices.Contains(it.modifiers[:i], m) {
				l.add(d, it.place, "", "the modifier %s is there twice", m)
			}
		}
	}},
	{LintCheck: LintCheck{"field_space", LintInfo, "spaces in or around the name of a field"}, item: func(l *linter, d *lintDoc, it *item) {
		if strings.ContainsAny(it.field, " \t") {
			l.add(d, it.place, "Sigma's names of Windows fields have no spaces", "the field %q has a space in it", it.field)
		}
	}},
	{LintCheck: LintCheck{"duplicate_value", LintWarning, "a value that is there twice"}, item: checkDuplicates},
	{LintCheck: LintCheck{"shadowed_value", LintInfo, "a value that holds wherever a shorter one of the list does"}, item: checkShadowed},
	{LintCheck: LintCheck{"wildcard_modifier", LintInfo, "stars at the ends of values where contains, startswith or endswith would do"}, item: checkStars},
	{LintCheck: LintCheck{"non_ascii", LintInfo, "characters that are not ASCII, which some editors change unseen"}, item: func(l *linter, d *lintDoc, it *item) {
		for _, v := range it.values { // the first is enough
			if strings.IndexFunc(v.text, func(r rune) bool { return r > 126 }) >= 0 {
				l.add(d, v.place, "", "%q holds characters that are not ASCII", v.text)
				return
			}
		}
	}},
}

func (it *item) has(modifier string) bool { return slices.Contains(it.modifiers, modifier) }

func (it *item) hasAny(modifiers ...string) bool { return slices.ContainsFunc(modifiers, it.has) }

func checkAll(l *linter, d *lintDoc, it *item) {
	if it.keyword || !it.has("all") || len(it.values) < 2 || it.hasAny("contains", "re", "startswith", "endswith", "cidr", "lt", "lte", "gt", "gte", "neq") {
		return
	}
	for _, v := range it.values {
		if v.kind == String && parsePattern(v.text, false).hasWildcard() {
			return
		}
	}
	l.add(d, it.place, "add the modifier contains", "no single value of %s can equal all of these", itemName(*it))
}

// sameText returns what makes two values of an item equal.
func (it *item) sameText(v scalar) string {
	if it.hasAny("cased", "re", "base64", "base64offset") || v.kind != String {
		return v.kind.String() + v.text
	}
	return v.kind.String() + fold(v.text)
}

func checkDuplicates(l *linter, d *lintDoc, it *item) {
	if len(it.values) < 2 {
		return
	}
	seen := make(map[string]bool, len(it.values))
	for _, v := range it.values {
		key := it.sameText(v)
		if seen[key] {
			l.add(d, v.place, "", "the value %q is there twice", v.text)
		}
		seen[key] = true
	}
}

// maxShadows bounds lists in which each value is compared with each other.
const maxShadows = 256

// checkShadowed finds, of the values of a list, those that can't matter: with
// contains, "abc" beside "ab"; under all, "ab" beside "abc".
func checkShadowed(l *linter, d *lintDoc, it *item) {
	test := shadowTest(it)
	if test == nil || len(it.values) < 2 || len(it.values) > maxShadows {
		return
	}
	texts := make([]string, len(it.values))
	for i, v := range it.values {
		if v.kind != String || parsePattern(v.text, false).hasWildcard() {
			return
		}
		texts[i] = parsePattern(v.text, false).plain()
		if !it.has("cased") {
			texts[i] = fold(texts[i])
		}
	}
	all := it.has("all")
	for i, long := range texts {
		for k, short := range texts {
			if i == k || len(short) >= len(long) || !test(long, short) {
				continue
			}
			if all {
				l.add(d, it.values[k].place, "leave it out", "%q is part of %q, which must be there too", it.values[k].text, it.values[i].text)
			} else {
				l.add(d, it.values[i].place, "leave it out", "%q is found by %q already", it.values[i].text, it.values[k].text)
			}
			break
		}
	}
}

func shadowTest(it *item) func(long, short string) bool {
	if it.hasAny("re", "cidr", "fieldref", "expand", "windash", "base64", "base64offset", "wide", "utf16", "utf16le", "utf16be", "neq") {
		return nil
	}
	switch {
	case it.has("contains"):
		return strings.Contains
	case it.has("startswith"):
		return strings.HasPrefix
	case it.has("endswith"):
		return strings.HasSuffix
	case it.keyword:
		return strings.Contains
	}
	return nil
}

// checkStars looks at items of which all values have stars at the same ends,
// and nowhere else.
func checkStars(l *linter, d *lintDoc, it *item) {
	if it.keyword || it.hasAny("contains", "startswith", "endswith", "re", "cidr", "expand", "fieldref", "exists") || len(it.values) == 0 {
		return
	}
	modifier := ""
	for _, v := range it.values {
		m := starModifier(parsePattern(v.text, false))
		if v.kind != String || m == "" || modifier != "" && m != modifier {
			return
		}
		modifier = m
	}
	l.add(d, it.place, "write "+it.field+"|"+modifier+" without the stars", "the stars of %s are what %s says", itemName(*it), modifier)
}

func starModifier(p pattern) string {
	switch {
	case len(p) == 3 && p[0].kind == star && p[1].kind == literal && p[2].kind == star:
		return "contains"
	case len(p) == 2 && p[0].kind == star && p[1].kind == literal:
		return "endswith"
	case len(p) == 2 && p[0].kind == literal && p[1].kind == star:
		return "startswith"
	}
	return ""
}
