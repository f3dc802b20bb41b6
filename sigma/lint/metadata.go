package lint

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/parser"
	"github.com/picket-edr/picket/sigma/internal/suggest"
)

// metadataChecks check the attributes that describe a document.
var metadataChecks = []check{
	missingKeyCheck("missing_id", "id", Warning, "a random UUID keeps alerts of the rule together when its title changes"),
	missingKeyCheck("missing_status", "status", Warning, "one of stable, test, experimental, deprecated, unsupported"),
	missingKeyCheck("missing_description", "description", Warning, ""),
	missingKeyCheck("missing_author", "author", Info, ""),
	missingKeyCheck("missing_date", "date", Info, ""),
	{Check: Check{"invalid_id", Warning, "an id that is not a UUID"}, document: checkIDFormat},
	{Check: Check{"id_version", Info, "an id that is a UUID, but not of version 4"}, document: checkUUIDVersion},
	{Check: Check{"date", Warning, "an invalid date, or one not written as 2006-01-02"}, document: checkDateFormats},
	{Check: Check{"modified", Warning, "modified without date, before it, or equal to it"}, document: checkModifiedDate},
	{Check: Check{"expired", Warning, "a filter that has expired and applies no longer"}, document: func(l *linter, d *document) {
		if now := l.options.Now; !now.IsZero() && !d.expires.IsZero() && !now.Before(d.expires) {
			l.addFindingAtKey(d, "expires", "remove the filter, or give it a later end", "the filter expired at %s", d.expires.UTC().Format(time.RFC3339))
		}
	}},
	{Check: Check{"title_length", Warning, "a title of more than 256 characters"}, document: func(l *linter, d *document) {
		if n := len([]rune(d.meta.Title)); n > 256 {
			l.addFindingAtKey(d, "title", "move the rest into the description", "the title has %d characters", n)
		}
	}},
	{Check: Check{"title_style", Info, "a title that begins with \"Detects\" or ends with a full stop"}, document: checkTitleWording},
	{Check: Check{"description_length", Info, "a description of fewer than 16 characters"}, document: func(l *linter, d *document) {
		if n := len(strings.TrimSpace(d.meta.Description)); n > 0 && n < 16 {
			l.addFindingAtKey(d, "description", "say what is detected and why it matters", "the description is very short")
		}
	}},
	{Check: Check{"description_link", Info, "a link in the description"}, document: func(l *linter, d *document) {
		if s := d.meta.Description; strings.Contains(s, "http://") || strings.Contains(s, "https://") {
			l.addFindingAtKey(d, "description", "put links into references", "the description contains a link")
		}
	}},
	{Check: Check{"references", Info, "a reference to a branch of a repository, or to ATT&CK, for which there are tags"}, document: checkBranchAndAttackLinks},
	{Check: Check{"falsepositives", Info, "false positives that say nothing or are misspelt"}, document: checkFalsePositives},
	{Check: Check{"duplicate_reference", Warning, "a repeated reference"}, document: func(l *linter, d *document) {
		l.reportRepeated(d, "references", d.meta.References)
	}},
	{Check: Check{"duplicate_falsepositive", Warning, "a repeated false positive"}, document: func(l *linter, d *document) {
		l.reportRepeated(d, "falsepositives", d.meta.FalsePositives)
	}},
	{Check: Check{"related", Warning, "a related rule without a UUID or known type, or that is the rule itself"}, document: checkRelated},
	{Check: Check{"misspelt_key", Warning, "a key that looks like a misspelling"}, document: checkMisspeltKeys},
	{Check: Check{"custom_key", Info, "a key that the specification does not define"}, document: checkCustomKeys},
	{Check: Check{"logsource_key", Warning, "a key of the logsource that has no effect"}, document: func(l *linter, d *document) {
		for _, k := range d.meta.LogSourceKeys {
			if known := []string{"product", "category", "service", "definition"}; !slices.Contains(known, k.Text) {
				l.addFinding(d, k.Position, suggest.DidYouMean(k.Text, known, ""), "%q is not part of a logsource and has no effect", k.Text)
			}
		}
	}},
}

func missingKeyCheck(name, key string, s Severity, hint string) check {
	return check{Check: Check{name, s, "no " + key}, document: func(l *linter, d *document) {
		if _, ok := d.keyPosition(key); !ok && !(key == "status" && d.kind == ast.FilterDocument) {
			l.addFinding(d, ast.Position{}, hint, "the %s has no %s", d.kind, key)
		}
	}}
}

// reportRepeated reports strings that a list contains more than once.
func (l *linter) reportRepeated(d *document, key string, list []string) {
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			l.addFindingAtKey(d, key, "", "%q is repeated in %s", s, key)
		}
	}
}

var uuidPattern = regexp.MustCompile(`^(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func checkIDFormat(l *linter, d *document) {
	if _, ok := d.keyPosition("id"); ok && !uuidPattern.MatchString(d.meta.ID) {
		l.addFindingAtKey(d, "id", "ids are random UUIDs", "the id %q is not a UUID", d.meta.ID)
	}
}

func checkUUIDVersion(l *linter, d *document) {
	if id := d.meta.ID; uuidPattern.MatchString(id) && id[14] != '4' {
		l.addFindingAtKey(d, "id", "random UUIDs are of version 4", "the id is a UUID of version %c", id[14])
	}
}

func checkDateFormats(l *linter, d *document) {
	for key, s := range map[string]string{"date": d.meta.Date, "modified": d.meta.Modified} {
		if _, ok := d.keyPosition(key); !ok {
			continue
		}
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			l.addFindingAtKey(d, key, "write dates as in 2006-01-02", "%s: %q is not a date", key, s)
		}
	}
}

func checkModifiedDate(l *linter, d *document) {
	_, hasDate := d.keyPosition("date")
	if _, ok := d.keyPosition("modified"); !ok {
		return
	}
	switch m := d.meta; {
	case !hasDate:
		l.addFindingAtKey(d, "modified", "", "the %s has modified and no date", d.kind)
	case m.Modified == m.Date:
		l.addFindingAtKey(d, "modified", "remove it", "modified equals date")
	case len(m.Modified) == len(m.Date) && m.Modified < m.Date:
		l.addFindingAtKey(d, "modified", "", "modified (%s) is before date (%s)", m.Modified, m.Date)
	}
}

func checkTitleWording(l *linter, d *document) {
	low := strings.ToLower(d.meta.Title)
	if strings.HasPrefix(low, "detects ") || strings.HasPrefix(low, "detection of ") {
		l.addFindingAtKey(d, "title", "name what happens", "the title begins with a word that fits every rule")
	}
	if strings.HasSuffix(low, ".") {
		l.addFindingAtKey(d, "title", "", "the title ends with a full stop")
	}
}

// branchLinkPattern matches links to a branch, whose content changes.
var branchLinkPattern = regexp.MustCompile(`^https?://(www\.)?github\.com/[^/]+/[^/]+/(blob|tree|raw)/(master|main|develop)/`)

func checkBranchAndAttackLinks(l *linter, d *document) {
	for _, r := range d.meta.References {
		switch {
		case branchLinkPattern.MatchString(r):
			l.addFindingAtKey(d, "references", "link to a commit", "%s changes with its branch", r)
		case strings.Contains(r, "://attack.mitre.org/"):
			l.addFindingAtKey(d, "references", "write a tag, as in attack.t1059", "%s belongs in a tag", r)
		}
	}
}

func checkFalsePositives(l *linter, d *document) {
	for _, s := range d.meta.FalsePositives {
		low := strings.ToLower(strings.TrimRight(strings.TrimSpace(s), "."))
		switch {
		case low == "" || slices.Contains([]string{"none", "no", "n/a", "pentest", "penetration test", "penetration testing"}, low):
			l.addFindingAtKey(d, "falsepositives", "write Unknown, or what legitimately causes matches", "%q says nothing about false positives", s)
		case strings.HasPrefix(low, "unkown") || strings.HasPrefix(low, "unknow") && low == "unknow" || strings.Contains(low, "ligitimate") || strings.Contains(low, "legitimeate"):
			l.addFindingAtKey(d, "falsepositives", "", "%q is misspelt", s)
		}
	}
}

func checkRelated(l *linter, d *document) {
	kinds := []string{"derived", "obsolete", "obsoletes", "merged", "renamed", "similar", "correlation"}
	for _, r := range d.meta.Related {
		switch {
		case !uuidPattern.MatchString(r.ID):
			l.addFinding(d, r.Position, "", "the id %q of a related rule is not a UUID", r.ID)
		case strings.EqualFold(r.ID, d.meta.ID):
			l.addFinding(d, r.Position, "", "the rule is related to itself")
		case !slices.Contains(kinds, r.Type):
			l.addFinding(d, r.Position, suggest.DidYouMean(r.Type, kinds, "one of derived, obsolete, merged, renamed, similar"), "unknown type %q of a related rule", r.Type)
		}
	}
}

func checkMisspeltKeys(l *linter, d *document) {
	for _, k := range d.meta.Keys {
		if slices.Contains(parser.DocumentKeys, k.Text) {
			continue
		}
		if best := suggest.Nearest(k.Text, parser.DocumentKeys); best != "" {
			l.addFinding(d, k.Position, "did you mean "+best+"?", "unknown key %q", k.Text)
		}
	}
}

func checkCustomKeys(l *linter, d *document) {
	for _, k := range d.meta.Keys {
		if !slices.Contains(parser.DocumentKeys, k.Text) && suggest.Nearest(k.Text, parser.DocumentKeys) == "" {
			l.addFinding(d, k.Position, "", "the specification defines no key %q", k.Text)
		}
	}
}
