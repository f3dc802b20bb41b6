package lint

import (
	"path"
	"regexp"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
)

// collectionChecks compare documents with each other.
var collectionChecks = []check{
	{Check: Check{"duplicate_id", Error, "an id that another document has too"}, collection: func(l *linter, docs []*document) {
		l.reportSharedValues(docs, "id", func(d *document) string { return strings.ToLower(d.meta.ID) })
	}},
	{Check: Check{"duplicate_name", Warning, "a name that another document has too: a correlation may refer to either"}, collection: func(l *linter, docs []*document) {
		l.reportSharedValues(docs, "name", func(d *document) string { return d.meta.Name })
	}},
	{Check: Check{"duplicate_title", Warning, "a title that another document has too"}, collection: func(l *linter, docs []*document) {
		l.reportSharedValues(docs, "title", func(d *document) string { return strings.ToLower(d.meta.Title) })
	}},
	{Check: Check{"duplicate_filename", Warning, "files of the same name in several folders"}, collection: checkDuplicateFilenames},
	{Check: Check{"filename", Info, "a file name of fewer than 10 or more than 90 characters, or not in lower case with underscores"}, collection: checkFilenameConvention},
}

// reportSharedValues reports documents that share a string with an earlier one.
func (l *linter) reportSharedValues(docs []*document, key string, valueOf func(*document) string) {
	first := make(map[string]*document, len(docs))
	for _, d := range docs {
		s := valueOf(d)
		if s == "" {
			continue
		}
		if f := first[s]; f != nil {
			l.addFindingAtKey(d, key, "", "%s:%d has this %s too", f.meta.File, f.meta.Line, key)
		} else {
			first[s] = d
		}
	}
}

func checkDuplicateFilenames(l *linter, docs []*document) {
	first := make(map[string]string)
	for _, d := range docs {
		base := path.Base(d.meta.File)
		switch f, ok := first[base]; {
		case !ok:
			first[base] = d.meta.File
		case f != d.meta.File:
			l.addFinding(d, ast.Position{}, "", "%s has this file name too", f)
			first[base] = d.meta.File // so that each file is reported once
		}
	}
}

var filenamePattern = regexp.MustCompile(`^[a-z0-9_]{6,86}\.ya?ml$`)

func checkFilenameConvention(l *linter, docs []*document) {
	seen := make(map[string]bool)
	for _, d := range docs {
		if base := path.Base(d.meta.File); !seen[d.meta.File] && !filenamePattern.MatchString(base) {
			l.addFinding(d, ast.Position{}, "as in proc_creation_win_whoami.yml", "the file name %q does not follow SigmaHQ's conventions", base)
		}
		seen[d.meta.File] = true
	}
}
