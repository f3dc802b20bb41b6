package sqlitefile

import (
	"maps"
	"path/filepath"
	"slices"
	"sync"
)

// maxReportedPages bounds how many pages of a file are remembered.
const maxReportedPages = 10_000

// reported has the pages with damage that this process has read.
var reported reportedPages

type reportedPages struct {
	mu    sync.Mutex
	files map[string]map[int64]bool // path → page → corrected
}

func (r *reportedPages) add(path string, page int64, corrected bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		r.files = make(map[string]map[int64]bool)
	}
	pages := r.files[path]
	if pages == nil {
		pages = make(map[int64]bool)
		r.files[path] = pages
	}
	if len(pages) < maxReportedPages {
		pages[page] = corrected
	}
}

// PageDamage is what is wrong with the pages of a file, by number.
type PageDamage struct {
	Corrected []int64 // one bit had changed; it is corrected whenever the page is read
	Damaged   []int64 // unreadable
}

// Damage returns the pages with damage that this process has met in a file.
func Damage(path string) PageDamage {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil { // as SQLite names it
		path = real
	}
	reported.mu.Lock()
	defer reported.mu.Unlock()
	var d PageDamage
	pages := reported.files[path]
	for _, page := range slices.Sorted(maps.Keys(pages)) {
		if pages[page] {
			d.Corrected = append(d.Corrected, page)
		} else {
			d.Damaged = append(d.Damaged, page)
		}
	}
	return d
}
