package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// rotatedSuffix is what rotation appends to the name of a log: .1, -20060102, .2006-01-02,
// .old and the like.
var rotatedSuffix = regexp.MustCompile(`^(\.[0-9]+|[.-][0-9]{8}[0-9._T-]*|[.-][0-9]{4}-[0-9]{2}[0-9._T-]*|\.old)$`)

// isRotatedName reports whether a name is that of a log after rotation.
func isRotatedName(name, log string) bool {
	suffix, ok := strings.CutPrefix(name, log)
	return ok && rotatedSuffix.MatchString(suffix)
}

// isRotatedOf reports whether a path is that of one of other paths after rotation.
func isRotatedOf(path string, others []string) bool {
	for i := len(path) - 1; i > 0 && path[i] != os.PathSeparator; i-- {
		if path[i] != '.' && path[i] != '-' || !rotatedSuffix.MatchString(path[i:]) {
			continue
		}
		if _, found := slices.BinarySearch(others, path[:i]); found {
			return true
		}
	}
	return false
}

// isCompressed reports whether a file is compressed, by its name.
func isCompressed(path string) bool {
	switch filepath.Ext(path) {
	case ".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip", ".Z":
		return true
	}
	return false
}

// rotatedSince returns the files that rotation has made of a log, if they were modified
// after a time, the oldest first.
func rotatedSince(path string, since time.Time) []string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	type rotated struct {
		path     string
		modified time.Time
	}
	var all []rotated
	for _, e := range entries {
		if !isRotatedName(e.Name(), filepath.Base(path)) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().After(since) {
			all = append(all, rotated{filepath.Join(filepath.Dir(path), e.Name()), info.ModTime()})
		}
	}
	slices.SortStableFunc(all, func(a, b rotated) int { return a.modified.Compare(b.modified) })
	paths := make([]string, len(all))
	for i := range all {
		paths[i] = all[i].path
	}
	return paths
}
