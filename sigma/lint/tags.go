package lint

import (
	"regexp"
	"strings"

	"github.com/picket-edr/picket/sigma/internal/suggest"
)

// tagChecks check tags, by the Sigma Tags Appendix.
var tagChecks = []check{
	{Check: Check{"tag_format", Warning, "a tag that is not namespace.name in lower case"}, document: eachTag(func(l *linter, d *document, tag, _, _ string) {
		if !tagPattern.MatchString(tag) {
			l.addFindingAtKey(d, "tags", "as in attack.t1059.001", "the tag %q is not namespace.name in lower case", tag)
		}
	})},
	{Check: Check{"tag_namespace", Warning, "an unknown namespace of tags"}, document: eachTag(func(l *linter, d *document, tag, space, _ string) {
		if _, ok := tagNamePatterns[space]; !ok && tagPattern.MatchString(tag) {
			l.addFindingAtKey(d, "tags", suggest.DidYouMean(space, tagNamespaces, "one of "+strings.Join(tagNamespaces, ", ")), "unknown namespace %q of a tag", space)
		}
	})},
	{Check: Check{"tag_name", Warning, "a tag that its namespace does not have, such as attack.t12"}, document: eachTag(func(l *linter, d *document, tag, space, name string) {
		if re := tagNamePatterns[space]; re != nil && tagPattern.MatchString(tag) && !re.MatchString(name) {
			l.addFindingAtKey(d, "tags", tagHintsByNamespace[space], "%q is not a tag of the namespace %s", tag, space)
		}
	})},
	{Check: Check{"duplicate_tag", Warning, "a repeated tag"}, document: func(l *linter, d *document) {
		l.reportRepeated(d, "tags", d.meta.Tags)
	}},
}

func eachTag(f func(l *linter, d *document, tag, space, name string)) func(*linter, *document) {
	return func(l *linter, d *document) {
		for _, tag := range d.meta.Tags {
			space, name, _ := strings.Cut(tag, ".")
			f(l, d, tag, space, name)
		}
	}
}

var tagPattern = regexp.MustCompile(`^[a-z0-9_-]+\.[a-z0-9._-]+$`)

var tagNamespaces = []string{"attack", "car", "cve", "d3fend", "detection", "stp", "tlp"}

// tagNamePatterns match what may follow a namespace. Techniques change with every
// version of ATT&CK and D3FEND, so only their form is checked. The tactics are
// those of all versions.
var tagNamePatterns = map[string]*regexp.Regexp{
	"attack": regexp.MustCompile(`^(t\d{4}(\.\d{3})?|[gsm]\d{4}|ds\d{4}|c\d{4}|reconnaissance|resource-development|initial-access|execution|persistence|` +
		`privilege-escalation|defense-evasion|stealth|defense-impairment|credential-access|discovery|lateral-movement|collection|command-and-control|exfiltration|impact)$`),
	"car":       regexp.MustCompile(`^\d{4}-\d{2}-\d{3}$`),
	"cve":       regexp.MustCompile(`^\d{4}-\d{4,}$`),
	"d3fend":    nil, // any name
	"detection": regexp.MustCompile(`^(dfir|emerging-threats|threat-hunting)$`),
	"stp":       regexp.MustCompile(`^[1-5][auk]?$`),
	"tlp":       regexp.MustCompile(`^(clear|white|green|amber|amber-strict|red)$`),
}

var tagHintsByNamespace = map[string]string{
	"attack": "a tactic with hyphens, or as in attack.t1059.001", "car": "as in car.2016-04-005", "cve": "as in cve.2024-3400",
	"detection": "one of dfir, emerging-threats, threat-hunting", "stp": "as in stp.2a", "tlp": "one of clear, green, amber, amber-strict, red",
}
