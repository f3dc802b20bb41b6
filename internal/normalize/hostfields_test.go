package normalize_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/picket-edr/picket/internal/normalize"
)

// Every event that names its host has it in one of the fields.
func TestHostFields(t *testing.T) {
	names := normalize.HostFields()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	r := normalize.NewReader()
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.Read(raw)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		found := d.Host == ""
		for _, f := range d.Fields(nil) {
			found = found || f.Value.Text == d.Host && slices.Contains(names, f.Name)
		}
		if !found {
			t.Errorf("%s: host %q is in none of the fields %v", file, d.Host, names)
		}
	}
}
