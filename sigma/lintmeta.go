package sigma

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// metaChecks look at what a document says of itself.
var metaChecks = []check{
	missingKey("missing_id", "id", LintWarning, "a random UUID keeps alerts of the rule together when its title changes"),
	missingKey("missing_status", "status", LintWarning, "one of stable, test, experimental, deprecated, unsupported"),
	missingKey("missing_description", "description", LintWarning, ""),
	missingKey("missing_author", "author", LintInfo, ""),
	missingKey("missing_date", "date", LintInfo, ""),
	{LintCheck: LintCheck{"invalid_id", LintWarning, "an id that is no UUID"}, document: checkID},
	{LintCheck: LintCheck{"id_version", LintInfo, "an id that is a UUID, but none of version 4"}, document: checkIDVersion},
	{LintCheck: LintCheck{"date", LintWarning, "a date that is none, or not written as 2006-01-02"}, document: checkDates},
	{LintCheck: LintCheck{"modified", LintWarning, "modified without, before or the same as date"}, document: checkModified},
	{LintCheck: LintCheck{"title_length", LintWarning, "a title of more than 256 characters"}, document: func(l *linter, d *lintDoc) {
		if n := len([]rune(d.meta.Title)); n > 256 {
			l.addAt(d, "title", "say the rest in the description", "the title has %d characters", n)
		}
	}},
	{LintCheck: LintCheck{"title_style", LintInfo, "a title that begins with \"Detects\" or ends with a full stop"}, document: checkTitle},
	{LintCheck: LintCheck{"description_length", LintInfo, "a description of less than 16 characters"}, document: func(l *linter, d *lintDoc) {
		if n := len(strings.TrimSpace(d.meta.Description)); n > 0 && n < 16 {
			l.addAt(d, "description", "say what is detected and why it matters", "the description says little")
		}
	}},
	{LintCheck: LintCheck{"description_link", LintInfo, "a link in the description"}, document: func(l *linter, d *lintDoc) {
		if s := d.meta.Description; strings.Contains(s, "http://") || strings.Contains(s, "https://") {
			l.addAt(d, "description", "links go into references", "the description holds a link")
		}
	}},
	{LintCheck: LintCheck{"references", LintInfo, "a reference to a branch of a repository, or to ATT&CK, which tags name"}, document: checkReferences},
	{LintCheck: LintCheck{"falsepositives", LintInfo, "false positives that say nothing, or are misspelt"}, document: checkFalsePositives},
	{LintCheck: LintCheck{"duplicate_reference", LintWarning, "a reference that is there twice"}, document: func(l *linter, d *lintDoc) {
		l.twice(d, "references", d.meta.References)
	}},
	{LintCheck: LintCheck{"duplicate_falsepositive", LintWarning, "a false positive that is there twice"}, document: func(l *linter, d *lintDoc) {
		l.twice(d, "falsepositives", d.meta.FalsePositives)
	}},
	{LintCheck: LintCheck{"related", LintWarning, "a related rule without UUID or known type, or the rule itself"}, document: checkRelated},
	{LintCheck: LintCheck{"misspelt_key", LintWarning, "a key that looks like one of the specification"}, document: checkMisspelt},
	{LintCheck: LintCheck{"custom_key", LintInfo, "a key that the specification does not know"}, document: checkCustom},
	{LintCheck: LintCheck{"logsource_key", LintWarning, "a key of the logsource that has no effect"}, document: func(l *linter, d *lintDoc) {
		for _, k := range d.meta.sourceKeys {
			if known := []string{"product", "category", "service", "definition"}; !slices.Contains(known, k.name) {
				l.add(d, k.place, didYouMean(k.name, known, ""), "%q is no part of a logsource and has no effect", k.name)
			}
		}
	}},
}

func missingKey(name, key string, s Severity, hint string) check {
	return check{LintCheck: LintCheck{name, s, "no " + key}, document: func(l *linter, d *lintDoc) {
		if _, ok := d.meta.key(key); !ok {
			l.add(d, place{}, hint, "the %s has no %s", d.kind, key)
		}
	}}
}

// twice reports texts that are in a list more than once.
func (l *linter) twice(d *lintDoc, key string, list []string) {
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			l.addAt(d, key, "", "%q is among the %s twice", s, key)
		}
	}
}

var uuid = regexp.MustCompile(`^(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func checkID(l *linter, d *lintDoc) {
	if _, ok := d.meta.key("id"); ok && !uuid.MatchString(d.meta.ID) {
		l.addAt(d, "id", "ids are random UUIDs", "the id %q is no UUID", d.meta.ID)
	}
}

func checkIDVersion(l *linter, d *lintDoc) {
	if id := d.meta.ID; uuid.MatchString(id) && id[14] != '4' {
		l.addAt(d, "id", "ids are random UUIDs, which are of version 4", "the id is a UUID of version %c", id[14])
	}
}

func checkDates(l *linter, d *lintDoc) {
	for key, s := range map[string]string{"date": d.meta.Date, "modified": d.meta.Modified} {
		if _, ok := d.meta.key(key); !ok {
			continue
		}
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			l.addAt(d, key, "dates are written as in 2006-01-02", "%s: %q is no date", key, s)
		}
	}
}

func checkModified(l *linter, d *lintDoc) {
	_, dated := d.meta.key("date")
	if _, ok := d.meta.key("modified"); !ok {
		return
	}
	switch m := d.meta; {
	case !dated:
		l.addAt(d, "modified", "", "the %s was modified and has no date", d.kind)
	case m.Modified == m.Date:
		l.addAt(d, "modified", "leave it out", "modified is the same as date")
	case len(m.Modified) == len(m.Date) && m.Modified < m.Date:
		l.addAt(d, "modified", "", "modified (%s) is before date (%s)", m.Modified, m.Date)
	}
}

func checkTitle(l *linter, d *lintDoc) {
	low := strings.ToLower(d.meta.Title)
	if strings.HasPrefix(low, "detects ") || strings.HasPrefix(low, "detection of ") {
		l.addAt(d, "title", "name what happens", "the title begins with what every rule does")
	}
	if strings.HasSuffix(low, ".") {
		l.addAt(d, "title", "", "the title ends with a full stop")
	}
}

// branchLink is a link to a file that changes under it.
var branchLink = regexp.MustCompile(`^https?://(www\.)?github\.com/[^/]+/[^/]+/(blob|tree|raw)/(master|main|develop)/`)

func checkReferences(l *linter, d *lintDoc) {
	for _, r := range d.meta.References {
		switch {
		case branchLink.MatchString(r):
			l.addAt(d, "references", "link to a commit", "%s changes with its branch", r)
		case strings.Contains(r, "://attack.mitre.org/"):
			l.addAt(d, "references", "write a tag, as in attack.t1059", "%s is what a tag says", r)
		}
	}
}

func checkFalsePositives(l *linter, d *lintDoc) {
	for _, s := range d.meta.FalsePositives {
		low := strings.ToLower(strings.TrimRight(strings.TrimSpace(s), "."))
		switch {
		case low == "" || slices.Contains([]string{"none", "no", "n/a", "pentest", "penetration test", "penetration testing"}, low):
			l.addAt(d, "falsepositives", "write Unknown, or what sets the rule off", "%q says nothing about false positives", s)
		case strings.HasPrefix(low, "unkown") || strings.HasPrefix(low, "unknow") && low == "unknow" || strings.Contains(low, "ligitimate") || strings.Contains(low, "legitimeate"):
			l.addAt(d, "falsepositives", "", "%q is misspelt", s)
		}
	}
}

func checkRelated(l *linter, d *lintDoc) {
	kinds := []string{"derived", "obsolete", "obsoletes", "merged", "renamed", "similar", "correlation"}
	for _, r := range d.meta.related {
		switch {
		case !uuid.MatchString(r.id):
			l.add(d, r.place, "", "the id %q of a related rule is no UUID", r.id)
		case strings.EqualFold(r.id, d.meta.ID):
			l.add(d, r.place, "", "the rule is related to itself")
		case !slices.Contains(kinds, r.kind):
			l.add(d, r.place, didYouMean(r.kind, kinds, "one of derived, obsolete, merged, renamed, similar"), "unknown type %q of a related rule", r.kind)
		}
	}
}

func checkMisspelt(l *linter, d *lintDoc) {
	for _, k := range d.meta.keys {
		if slices.Contains(documentKeys, k.name) {
			continue
		}
		if best := nearest(k.name, documentKeys); best != "" {
			l.add(d, k.place, "did you mean "+best+"?", "unknown key %q", k.name)
		}
	}
}

func checkCustom(l *linter, d *lintDoc) {
	for _, k := range d.meta.keys {
		if !slices.Contains(documentKeys, k.name) && nearest(k.name, documentKeys) == "" {
			l.add(d, k.place, "", "the specification has no key %q", k.name)
		}
	}
}
