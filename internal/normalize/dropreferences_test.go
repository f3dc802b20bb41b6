package normalize_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"weak"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/testenv"
)

// After DropReferences, a reader has no event in memory, whatever its format: an event is part
// of a batch, of which all would be kept.
func TestDropReferences(t *testing.T) {
	r := normalize.NewReader()
	files, _ := filepath.Glob("testdata/*.json")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		testenv.Check(t, err)
		read := func() weak.Pointer[byte] {
			event := append(bytes.TrimSpace(raw), bytes.Repeat([]byte(" "), 1000)...)
			d, err := r.Read(event)
			testenv.Check(t, err)
			d.Fields(nil)
			r.DropReferences()
			return weak.Make(&event[0])
		}
		testenv.CheckFreed(t, file, read())
	}
}
