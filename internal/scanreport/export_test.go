package scanreport

import (
	"os"
	"testing"
)

// SetSortMemory sets how many bytes of rows are sorted in memory.
func (r *Report) SetSortMemory(bytes int) { r.sorter.maxBytes = bytes }

// TempFiles returns the files in the directory for parts.
func (r *Report) TempFiles(t *testing.T) []os.DirEntry {
	files, err := os.ReadDir(r.options.TempDir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
