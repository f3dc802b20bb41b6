package sigma

import (
	"regexp"
	"strings"
)

// tagChecks look at the tags, by the Sigma Tags Appendix.
var tagChecks = []check{
	{LintCheck: LintCheck{"tag_format", LintWarning, "a tag that is not namespace.name in lower case"}, document: eachTag(func(l *linter, d *lintDoc, tag, _, _ string) {
		if !tagFormat.MatchString(tag) {
			l.addAt(d, "tags", "as in attack.t1059.001: lower case, dots, hyphens", "the tag %q is not as tags are", tag)
		}
	})},
	{LintCheck: LintCheck{"tag_namespace", LintWarning, "a namespace of tags that is not known"}, document: eachTag(func(l *linter, d *lintDoc, tag, space, _ string) {
		if _, ok := tagNames[space]; !ok && tagFormat.MatchString(tag) {
			l.addAt(d, "tags", didYouMean(space, tagSpaces, "one of "+strings.Join(tagSpaces, ", ")), "unknown namespace %q of a tag", space)
		}
	})},
	{LintCheck: LintCheck{"tag_name", LintWarning, "a tag that its namespace can't have, such as attack.t12"}, document: eachTag(func(l *linter, d *lintDoc, tag, space, name string) {
		if re := tagNames[space]; re != nil && tagFormat.MatchString(tag) && !re.MatchString(name) {
			l.addAt(d, "tags", tagHints[space], "%q is no tag of the namespace %s", tag, space)
		}
	})},
	{LintCheck: LintCheck{"duplicate_tag", LintWarning, "a tag that is there twice"}, document: func(l *linter, d *lintDoc) {
		l.twice(d, "tags", d.meta.Tags)
	}},
}

func eachTag(f func(l *linter, d *lintDoc, tag, space, name string)) func(*linter, *lintDoc) {
	return func(l *linter, d *lintDoc) {
		for _, tag := range d.meta.Tags {
			space, name, _ := strings.Cut(tag, ".")
			f(l, d, tag, space, name)
		}
	}
}

var tagFormat = regexp.MustCompile(`^[a-z0-9_-]+\.[a-z0-9._-]+$`)

var tagSpaces = []string{"attack", "car", "cve", "d3fend", "detection", "stp", "tlp"}

// tagNames are what may follow a namespace. Techniques change with every
// version of ATT&CK and D3FEND, so that only their form is looked at. The
// tactics are those of all versions.
var tagNames = map[string]*regexp.Regexp{
	"attack": regexp.MustCompile(`^(t\d{4}(\.\d{3})?|[gsm]\d{4}|ds\d{4}|c\d{4}|reconnaissance|resource-development|initial-access|execution|persistence|` +
		`privilege-escalation|defense-evasion|stealth|defense-impairment|credential-access|discovery|lateral-movement|collection|command-and-control|exfiltration|impact)$`),
	"car":       regexp.MustCompile(`^\d{4}-\d{2}-\d{3}$`),
	"cve":       regexp.MustCompile(`^\d{4}-\d{4,}$`),
	"d3fend":    nil, // names of several kinds, in any form
	"detection": regexp.MustCompile(`^(dfir|emerging-threats|threat-hunting)$`),
	"stp":       regexp.MustCompile(`^[1-5][auk]?$`),
	"tlp":       regexp.MustCompile(`^(clear|white|green|amber|amber-strict|red)$`),
}

var tagHints = map[string]string{
	"attack": "a tactic with hyphens, or as in attack.t1059.001", "car": "as in car.2016-04-005", "cve": "as in cve.2024-3400",
	"detection": "one of dfir, emerging-threats, threat-hunting", "stp": "as in stp.2a", "tlp": "one of clear, green, amber, amber-strict, red",
}
