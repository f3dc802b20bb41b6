package importtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docPackages returns the packages in the list of doc.go, in its order.
func docPackages(t *testing.T) []string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("..", "..", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(src), "# The packages, bottom up")
	list, _, _ = strings.Cut(list, "# Glossary")
	var packages []string
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z0-9/.]+)(?:\s|$)`).FindAllStringSubmatch(list, -1) {
		packages = append(packages, m[1])
	}
	return packages
}

// The list of packages in doc.go is complete, and each package imports only packages
// above it.
func TestDoc(t *testing.T) {
	listed := docPackages(t)
	if len(listed) < 40 {
		t.Fatalf("only %d packages found in doc.go", len(listed))
	}
	exist := make(map[string]bool)
	for _, f := range goFiles(t, os.DirFS(filepath.Join("..", ".."))) {
		dir := f.dir()
		if f.test() || strings.HasPrefix(dir, "sigma/internal/") || dir == "internal/importtest" {
			continue
		}
		exist[dir] = true
		at := slices.Index(listed, dir)
		if at < 0 {
			t.Errorf("doc.go does not list %s", dir)
			continue
		}
		for _, imp := range f.imports {
			to, own := strings.CutPrefix(imp, module)
			if !own {
				continue
			}
			to = strings.TrimPrefix(to, "/")
			if to == "" {
				to = "."
			}
			if i := slices.Index(listed, to); i > at {
				t.Errorf("%s imports %s, which doc.go lists below it", f.name, to)
			}
		}
	}
	for _, dir := range listed {
		if !exist[dir] {
			t.Errorf("doc.go lists %s, which does not exist", dir)
		}
	}
}
