package ruleset_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/ruleset"
)

func packRule(n int) string {
	return fmt.Sprintf(`title: Rule %d
id: 00000000-0000-4000-8000-%012d
logsource: {category: process_creation}
detection: {a: {CommandLine: x}, condition: a}
level: low
`, n, n)
}

// A member is a file of an archive.
type member struct {
	name, text string
	mode       fs.FileMode
}

func zipOf(t testing.TB, members ...member) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		h.SetMode(m.mode | 0o644)
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(m.text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "pack.zip")
	write(t, name, b.String())
	return name
}

func newPackDir(t testing.TB) ruleset.PackDir {
	return ruleset.PackDir{Path: filepath.Join(t.TempDir(), "data", "rules"), Limits: ruleset.DefaultPackLimits}
}

// tree lists the files under a folder.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, name)
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The rules and licenses of an archive are kept, and a pack of the same name
// replaces the installed one, file for file.
func TestAddZip(t *testing.T) {
	f := newPackDir(t)
	first := zipOf(t,
		member{name: "sigma-1.2/rules/linux/one.yml", text: packRule(1)}, member{name: "sigma-1.2/rules/two.YAML", text: packRule(2)},
		member{name: "sigma-1.2/rules/broken.yml", text: "title: x\ndetection: {condition: y}\n"},
		member{name: "sigma-1.2/LICENSE.Detection.Rules.md", text: "DRL"}, member{name: "sigma-1.2/version.txt", text: "r1"},
		member{name: "sigma-1.2/deprecated/old.yml", text: packRule(3)}, member{name: "sigma-1.2/.github/ci.yml", text: "title: ci"},
		member{name: "sigma-1.2/tools/run.py", text: "x"}, member{name: "sigma-1.2/docs", text: "README.md", mode: fs.ModeSymlink},
	)
	got, err := f.Add(t.Context(), first, ruleset.AddOptions{Name: "sigma"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.Path, "sigma")
	want := ruleset.Pack{Name: "sigma", Path: path, KindCounts: ruleset.KindCounts{Rules: 2}, Problems: 1, Licenses: []string{"LICENSE.Detection.Rules.md"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"sigma/LICENSE.Detection.Rules.md", "sigma/rules/broken.yml", "sigma/rules/linux/one.yml", "sigma/rules/two.YAML", "sigma/version.txt",
	}, tree(t, f.Path)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := f.Add(t.Context(), zipOf(t, member{name: "only.yml", text: packRule(4)}), ruleset.AddOptions{Name: "sigma"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sigma/only.yml"}, tree(t, f.Path)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A directory and a single file are packs too, and are removed by name.
func TestAddDirAndFile(t *testing.T) {
	f, from := newPackDir(t), t.TempDir()
	write(t, filepath.Join(from, "My rules", "a", "one.yml"), packRule(1))
	write(t, filepath.Join(from, "My rules", "a", "one.test.yml"), "fires: {}\n")
	write(t, filepath.Join(from, "My rules", "notes.txt"), "x")
	write(t, filepath.Join(from, "two.yml"), packRule(2))
	for _, name := range []string{"My rules", "two.yml"} {
		if p, err := f.Add(t.Context(), filepath.Join(from, name), ruleset.AddOptions{Name: ""}); err != nil || p.Rules != 1 || p.Problems != 0 {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if diff := cmp.Diff([]string{"My-rules/a/one.test.yml", "My-rules/a/one.yml", "two/two.yml"}, tree(t, f.Path)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if names, err := f.Names(); err != nil || !slices.Equal(names, []string{"My-rules", "two"}) {
		t.Errorf("packs are %q, %v", names, err)
	}
	set, err := ruleset.Load([]ruleset.Source{{Name: f.Path, Packs: true}}, nil)
	if err != nil || set.Rules.Len() != 2 {
		t.Fatalf("%d rules are in force, %v", set.Rules.Len(), err)
	}
	if got := set.Enabled[0].Pack; got != "My-rules" {
		t.Errorf("the first rule is of pack %q", got)
	}
	if err := f.Remove("two"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"two", "nothing", "", ".", "..", "../rules", "My-rules/a"} {
		if err := f.Remove(name); !errors.Is(err, ruleset.ErrPackNotFound) {
			t.Errorf("removing %q is %v", name, err)
		}
	}
	if diff := cmp.Diff([]string{"My-rules/a/one.test.yml", "My-rules/a/one.yml"}, tree(t, filepath.Dir(f.Path)+"/rules")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A pack that is rejected leaves the installed pack unchanged, and no other files.
func TestAddErrors(t *testing.T) {
	large := strings.Repeat("# nothing but a comment\n", 200_000)
	small := ruleset.PackLimits{Download: 1 << 20, Unpacked: 100_000, Files: 10}
	many := make([]member, 11)
	for i := range many {
		many[i] = member{name: fmt.Sprint(i, ".txt")}
	}
	linked := t.TempDir()
	write(t, filepath.Join(linked, "secret"), packRule(9))
	if err := os.Symlink("secret", filepath.Join(linked, "rule.yml")); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "rules.txt")
	write(t, text, packRule(1))
	for _, c := range []struct {
		name, from, want string
		limits           ruleset.PackLimits
	}{
		{name: "a path that leads out", from: zipOf(t, member{name: "ok.yml", text: packRule(1)}, member{name: "../../evil.yml", text: packRule(2)}), want: "no path within it"},
		{name: "a path from the root", from: zipOf(t, member{name: "/tmp/evil.yml", text: packRule(1)}), want: "no path within it"},
		{name: "a path with backslashes", from: zipOf(t, member{name: `..\evil.yml`, text: packRule(1)}), want: "no path within it"},
		{name: "a link", from: zipOf(t, member{name: "a.yml", text: "/etc/passwd", mode: fs.ModeSymlink}), want: "no regular file"},
		{name: "a link in a folder", from: linked, want: "no regular file"},
		{name: "a file twice", from: zipOf(t, member{name: "a.yml", text: packRule(1)}, member{name: "a.yml", text: packRule(2)}), want: "file exists"},
		{name: "a large rule", from: zipOf(t, member{name: "a.yml", text: large}), want: "larger than 4194304 bytes"},
		{name: "a bomb", from: zipOf(t, member{name: "a.yml", text: large[:90_000]}, member{name: "b.yml", text: large[:90_000]}), want: "larger than 100000 bytes", limits: small},
		{name: "many files", from: zipOf(t, many...), want: "more than 10 files", limits: small},
		{name: "nothing", from: zipOf(t, member{name: "readme.md", text: "x"}), want: "no rules in it"},
		{name: "nothing that loads", from: zipOf(t, member{name: "x/a.yml", text: "title: x\ndetection: {condition: y}\n"}, member{name: "y/LICENSE"}), want: "none of its 1 rules loads; the first: x/a.yml:1:1: "},
		{name: "another kind of file", from: text, want: "neither a folder, nor a .yml file, nor a zip"},
		{name: "no file", from: filepath.Join(linked, "none"), want: "no such file"},
	} {
		f := newPackDir(t)
		write(t, filepath.Join(f.Path, "pack", "before.yml"), packRule(1))
		if c.limits != (ruleset.PackLimits{}) {
			f.Limits = c.limits
		}
		if _, err := f.Add(t.Context(), c.from, ruleset.AddOptions{Name: "pack"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if got := tree(t, filepath.Dir(f.Path)); !slices.Equal(got, []string{"rules/pack/before.yml"}) {
			t.Errorf("%s: there are %q", c.name, got)
		}
	}
}

// An archive that declares a wrong file size is stopped by the bytes that it
// unpacks to.
func TestAddZipWithWrongSize(t *testing.T) {
	name := zipOf(t, member{name: "a.yml", text: strings.Repeat("#", maxPackFileBytes+100)})
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// The directory at the end has the size, four bytes in little endian.
	size := []byte{100, 0, 0x40, 0}
	if !bytes.Contains(data, size) {
		t.Fatal("the size is not in the archive")
	}
	write(t, name, string(bytes.ReplaceAll(data, size, []byte{10, 0, 0, 0})))
	if _, err := newPackDir(t).Add(t.Context(), name, ruleset.AddOptions{Name: "pack"}); err == nil {
		t.Error("it is taken")
	}
}

const maxPackFileBytes = 4 << 20

// The directory of the packs cannot be added as a pack.
func TestAddPackDir(t *testing.T) {
	f := newPackDir(t)
	write(t, filepath.Join(f.Path, "pack", "a.yml"), packRule(1))
	if _, err := f.Add(t.Context(), filepath.Dir(filepath.Dir(f.Path)), ruleset.AddOptions{Name: "other"}); err == nil || !strings.Contains(err.Error(), "holds the data directory") {
		t.Error(err)
	}
	if p, err := f.Add(t.Context(), filepath.Join(f.Path, "pack"), ruleset.AddOptions{Name: "copy"}); err != nil || p.Rules != 1 {
		t.Errorf("a copy of a pack: %+v, %v", p, err)
	}
}

func TestAddCanceled(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := newPackDir(t).Add(ctx, zipOf(t, member{name: "a.yml", text: packRule(1)}), ruleset.AddOptions{Name: "pack"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNameOf(t *testing.T) {
	for from, want := range map[string]string{
		"/x/sigma_all_rules.zip":                  "sigma_all_rules",
		"sigma_core++.zip":                        "sigma_core++",
		"sigma-r2026-01-02.zip":                   "sigma",
		"/x/rules-v1.2.3.ZIP":                     "rules",
		"/x/my rules/":                            "my-rules",
		"one.yml":                                 "one",
		"/":                                       "",
		"https://github.com/SigmaHQ/sigma":        "sigma",
		"https://github.com/SigmaHQ/sigma.git":    "sigma",
		"https://github.com/o/r/archive/HEAD.zip": "r",
		"https://github.com/SigmaHQ/sigma/releases/download/r2026-01-02/sigma_core.zip": "sigma_core",
		"https://github.com/o/r/blob/master/rules/one.yml":                              "one",
		"https://example.org/packs/linux-2.0.zip?token=x":                               "linux",
	} {
		if got := ruleset.DerivePackName(from); got != want {
			t.Errorf("%s is named %q, not %q", from, got, want)
		}
	}
	for _, name := range []string{"builtin", "..", ".x", "a/b", `a\b`, "-x", "a b", strings.Repeat("x", 65)} {
		if _, err := newPackDir(t).Add(t.Context(), "x", ruleset.AddOptions{Name: name}); !errors.Is(err, ruleset.ErrInvalidPackName) {
			t.Errorf("the name %q is %v", name, err)
		}
	}
}

// Whatever the archive, no file is written outside of the directory.
func FuzzAddZip(f *testing.F) {
	for _, m := range []member{{name: "a.yml", text: packRule(1)}, {name: "../a.yml", text: packRule(1)}, {name: "a/../../b.yml", text: packRule(1)}} {
		data, err := os.ReadFile(zipOf(f, m))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := newPackDir(t)
		dir.Limits = ruleset.PackLimits{Download: 1 << 20, Unpacked: 1 << 20, Files: 100}
		name := filepath.Join(t.TempDir(), "x.zip")
		write(t, name, string(data))
		_, err := dir.Add(t.Context(), name, ruleset.AddOptions{Name: "pack"})
		for _, file := range tree(t, filepath.Dir(filepath.Dir(dir.Path))) {
			if err != nil || !strings.HasPrefix(file, "data/rules/pack/") {
				t.Errorf("there is %s after %v", file, err)
			}
		}
	})
}

// A pack may have correlations over rules of another pack.
func TestAddCorrelations(t *testing.T) {
	name := filepath.Join(t.TempDir(), "many.yml")
	write(t, name, "title: Many\nid: 00000000-0000-4000-8000-00000000000a\ncorrelation: {type: event_count, rules: [elsewhere], timespan: 1m, condition: {gte: 2}}\n")
	p, err := ruleset.PackDir{Path: t.TempDir(), Limits: ruleset.DefaultPackLimits}.Add(t.Context(), name, ruleset.AddOptions{Name: ""})
	if err != nil || p.Problems != 1 {
		t.Errorf("added %+v, %v", p, err)
	}
}
