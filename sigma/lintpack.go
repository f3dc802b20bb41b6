package sigma

import (
	"path"
	"regexp"
	"strings"
)

// packChecks compare documents with each other.
var packChecks = []check{
	{LintCheck: LintCheck{"duplicate_id", LintError, "an id that another document has"}, pack: func(l *linter, docs []*lintDoc) {
		l.same(docs, "id", func(d *lintDoc) string { return strings.ToLower(d.meta.ID) })
	}},
	{LintCheck: LintCheck{"duplicate_name", LintWarning, "a name that another document has: correlations may mean either"}, pack: func(l *linter, docs []*lintDoc) {
		l.same(docs, "name", func(d *lintDoc) string { return d.meta.Name })
	}},
	{LintCheck: LintCheck{"duplicate_title", LintWarning, "a title that another document has"}, pack: func(l *linter, docs []*lintDoc) {
		l.same(docs, "title", func(d *lintDoc) string { return strings.ToLower(d.meta.Title) })
	}},
	{LintCheck: LintCheck{"duplicate_filename", LintWarning, "files of one name in several folders"}, pack: checkFilenames},
	{LintCheck: LintCheck{"filename", LintInfo, "a file name of less than 10 or more than 90 characters, or not in lower case with underscores"}, pack: checkFilename},
}

// same reports documents that have a text in common with one before.
func (l *linter) same(docs []*lintDoc, key string, of func(*lintDoc) string) {
	first := make(map[string]*lintDoc, len(docs))
	for _, d := range docs {
		s := of(d)
		if s == "" {
			continue
		}
		if f := first[s]; f != nil {
			l.addAt(d, key, "", "%s:%d has this %s too", f.meta.File, f.meta.Line, key)
		} else {
			first[s] = d
		}
	}
}

func checkFilenames(l *linter, docs []*lintDoc) {
	first := make(map[string]string)
	for _, d := range docs {
		base := path.Base(d.meta.File)
		switch f, ok := first[base]; {
		case !ok:
			first[base] = d.meta.File
		case f != d.meta.File:
			l.add(d, place{}, "", "%s has this file name too", f)
			first[base] = d.meta.File // said once a file
		}
	}
}

var goodFilename = regexp.MustCompile(`^[a-z0-9_]{6,86}\.ya?ml$`)

func checkFilename(l *linter, docs []*lintDoc) {
	seen := make(map[string]bool)
	for _, d := range docs {
		if base := path.Base(d.meta.File); !seen[d.meta.File] && !goodFilename.MatchString(base) {
			l.add(d, place{}, "as in proc_creation_win_whoami.yml", "the file name %q is not like those of SigmaHQ", base)
		}
		seen[d.meta.File] = true
	}
}
