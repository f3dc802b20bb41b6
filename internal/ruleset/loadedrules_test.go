package ruleset_test

import (
	"archive/zip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/picket-edr/picket/internal/detect/detecttest"
	"github.com/picket-edr/picket/internal/ruleset"
)

// loaded is what loading a path gives: titles and problems.
func loaded(t testing.TB, path string, off map[string]bool) (string, []string) {
	t.Helper()
	sources, err := ruleset.ParseSources([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := ruleset.Load(sources, off)
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, p := range set.Problems {
		problems = append(problems, strings.TrimPrefix(p.String(), path))
	}
	return titles(set.Enabled), problems
}

func TestLoadKinds(t *testing.T) {
	files := map[string]string{
		"a/one.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one"), "two.YAML": detecttest.RuleMatching(detecttest.RuleIDTwo, "two"), "a/one.test.yml": "fires: {}\n", "README.md": "title: none",
		".git/x.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "hidden"), "logsources.yml": "logsources:\n  linux: {}\n", "other.yml": "key: value\n",
	}
	dir := writeFiles(t, files)
	if got, problems := loaded(t, dir, nil); got != "one two" || problems != nil {
		t.Errorf("a folder gives %q, %q", got, problems)
	}
	if got, problems := loaded(t, filepath.Join(dir, "a", "one.yml"), nil); got != "one" || problems != nil {
		t.Errorf("a file gives %q, %q", got, problems)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if got, problems := loaded(t, link, nil); got != "one two" || problems != nil {
		t.Errorf("a link to a folder gives %q, %q", got, problems)
	}

	packed := filepath.Join(t.TempDir(), "rules.zip")
	f, err := os.Create(packed)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got, problems := loaded(t, packed, nil); got != "one two" || problems != nil {
		t.Errorf("a zip gives %q, %q", got, problems)
	}
	write(t, filepath.Join(dir, "broken.zip"), "no zip")
	if _, err := ruleset.Load([]ruleset.Source{{Name: filepath.Join(dir, "broken.zip")}}, nil); err == nil {
		t.Error("a broken zip is no error")
	}
}

func TestLoadProblems(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"1.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one"), "2.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "twin"),
		"3.yml": "title: three\ndetection: {condition: nothing}\n", "4.yml": "title: [\n",
		"5.yml": strings.Replace(detecttest.RuleMatching("x", "five"), "id: x\n", "", 1), "6.yml": detecttest.RuleMatching(detecttest.RuleIDTwo, "six") + "---\n" + detecttest.RuleMatching(detecttest.RuleIDTwo, "seven"),
	})
	got, problems := loaded(t, dir, nil)
	if got != "one five six" {
		t.Errorf("rules are %q", got)
	}
	for i, want := range []string{
		"/2.yml:1: id " + detecttest.RuleIDOne + " is taken by " + dir + "/1.yml (give one of the two a new id)", "/3.yml:", "/4.yml:",
		"/6.yml:8: id " + detecttest.RuleIDTwo + " is taken by ",
	} {
		if i >= len(problems) || !strings.HasPrefix(problems[i], want) {
			t.Errorf("problem %d is not %q", i, want)
		}
	}
	if len(problems) != 4 {
		t.Errorf("problems are %q", problems)
	}
}

// The revision depends on the content of the rules only.
func TestRevision(t *testing.T) {
	revision := func(files map[string]string) string {
		fsys := make(fstest.MapFS)
		for name, text := range files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		set, err := ruleset.Load([]ruleset.Source{{Name: "builtin", FS: fsys}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return set.Revision
	}
	a := revision(map[string]string{"a.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one")})
	if len(a) != 12 || a != revision(map[string]string{"a.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one")}) {
		t.Errorf("revision is %q, and another the next time", a)
	}
	if a == revision(map[string]string{"a.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "two")}) {
		t.Error("other rules have the same revision")
	}
}

func TestParseSources(t *testing.T) {
	if _, err := ruleset.ParseSources([]string{"builtin", filepath.Join(t.TempDir(), "nothing")}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not there is %v", err)
	}
}
