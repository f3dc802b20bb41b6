package detect_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/sigma"
)

var quiet = slog.New(slog.DiscardHandler)

// folder makes a folder of files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func titles(rules []*sigma.Rule) string {
	var all []string
	for _, r := range rules {
		all = append(all, r.Title)
	}
	return strings.Join(all, " ")
}

// loaded is what loading a path gives: titles and problems.
func loaded(t testing.TB, path string, off map[string]bool) (string, []string) {
	t.Helper()
	sources, err := detect.ParseSources([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := detect.Load(sources, off)
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, p := range set.Problems {
		problems = append(problems, strings.TrimPrefix(p.String(), path))
	}
	return titles(set.Rules.Rules()), problems
}

func TestLoadKinds(t *testing.T) {
	files := map[string]string{
		"a/one.yml": rule(idOne, "one"), "two.YAML": rule(idTwo, "two"), "a/one.test.yml": "fires: {}\n", "README.md": "title: none",
		".git/x.yml": rule(idOne, "hidden"), "logsources.yml": "logsources:\n  linux: {}\n", "other.yml": "key: value\n",
	}
	dir := folder(t, files)
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
	if _, err := detect.Load([]detect.Source{{Name: filepath.Join(dir, "broken.zip")}}, nil); err == nil {
		t.Error("a broken zip is no error")
	}
}

func TestLoadProblems(t *testing.T) {
	dir := folder(t, map[string]string{
		"1.yml": rule(idOne, "one"), "2.yml": rule(idOne, "twin"),
		"3.yml": "title: three\ndetection: {condition: nothing}\n", "4.yml": "title: [\n",
		"5.yml": strings.Replace(rule("x", "five"), "id: x\n", "", 1), "6.yml": rule(idTwo, "six") + "---\n" + rule(idTwo, "seven"),
	})
	got, problems := loaded(t, dir, nil)
	if got != "one five six" {
		t.Errorf("rules are %q", got)
	}
	for i, want := range []string{
		"/2.yml:1: id " + idOne + " is taken by " + dir + "/1.yml (give one of the two a new id)", "/3.yml:", "/4.yml:",
		"/6.yml:8: id " + idTwo + " is taken by ",
	} {
		if i >= len(problems) || !strings.HasPrefix(problems[i], want) {
			t.Errorf("problem %d is not %q", i, want)
		}
	}
	if len(problems) != 4 {
		t.Errorf("problems are %q", problems)
	}
}

// The revision names rules by their content, whatever else is about.
func TestRevision(t *testing.T) {
	revision := func(files map[string]string) string {
		fsys := make(fstest.MapFS)
		for name, text := range files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		set, err := detect.Load([]detect.Source{{Name: "builtin", FS: fsys}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return set.Revision
	}
	a := revision(map[string]string{"a.yml": rule(idOne, "one")})
	if len(a) != 12 || a != revision(map[string]string{"a.yml": rule(idOne, "one")}) {
		t.Errorf("revision is %q, and another the next time", a)
	}
	if a == revision(map[string]string{"a.yml": rule(idOne, "two")}) {
		t.Error("other rules have the same revision")
	}
}

func TestParseSources(t *testing.T) {
	if _, err := detect.ParseSources([]string{"builtin", filepath.Join(t.TempDir(), "nothing")}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not there is %v", err)
	}
}

// A rule that is switched off stays so over a restart, as does one that is
// switched on again.
func TestSwitch(t *testing.T) {
	dir := folder(t, map[string]string{"1.yml": rule(idOne, "one"), "2.yml": rule(idTwo, "two")})
	offFile := filepath.Join(t.TempDir(), "rules-off")
	load := func() *detect.Loader {
		l, err := detect.NewLoader([]detect.Source{{Name: dir}}, offFile, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	state := func(l *detect.Loader) string {
		on, off := l.List()
		if len(on) != l.Engine().Rules().Len() {
			t.Error("the engine runs others than are listed")
		}
		return titles(on) + "|" + titles(off)
	}
	for _, step := range []struct {
		id   string
		on   bool
		want string
	}{{idOne, false, "two|one"}, {idTwo, false, "|one two"}, {idTwo, true, "two|one"}, {idTwo, true, "two|one"}, {idOne, true, "one two|"}} {
		l := load()
		if err := l.Switch(t.Context(), step.id, step.on); err != nil {
			t.Fatal(err)
		}
		if got := state(l); got != step.want {
			t.Errorf("after switching %s to %t: %s", step.id, step.on, got)
		}
		if got := state(load()); got != step.want {
			t.Errorf("after a restart: %s, not %s", got, step.want)
		}
	}
	if err := load().Switch(t.Context(), "nothing", true); !errors.Is(err, picket.ErrNotFound) {
		t.Errorf("switching a rule that is not there is %v", err)
	}
}

// Two people who switch rules at once do not undo each other.
func TestSwitchAtOnce(t *testing.T) {
	files := make(map[string]string)
	for i := range 8 {
		files[fmt.Sprintf("%d.yml", i)] = rule(fmt.Sprintf("00000000-0000-4000-8000-%012d", i), fmt.Sprint("rule", i))
	}
	l, err := detect.NewLoader([]detect.Source{{Name: folder(t, files)}}, filepath.Join(t.TempDir(), "rules-off"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := l.Switch(t.Context(), fmt.Sprintf("00000000-0000-4000-8000-%012d", i), false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if on, off := l.List(); len(on) != 0 || len(off) != 8 {
		t.Errorf("%d are on and %d off", len(on), len(off))
	}
}

// Watch follows the files, in a mount of Kubernetes too, and goes on with the
// rules it has when they can't be read.
func TestWatch(t *testing.T) {
	root := t.TempDir()
	put := func(version, word string) {
		write(t, filepath.Join(root, version, "rule.yml"), rule(idOne, word))
		if err := os.Symlink(version, filepath.Join(root, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(root, "..tmp"), filepath.Join(root, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	put("..v1", "one")
	if err := os.Symlink(filepath.Join("..data", "rule.yml"), filepath.Join(root, "rule.yml")); err != nil {
		t.Fatal(err)
	}
	l, err := detect.NewLoader([]detect.Source{{Name: root}}, "", quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); l.Watch(ctx, time.Millisecond) }()
	defer func() { stop(); <-watched }()
	await := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			on, _ := l.List()
			set, _ := l.Status()
			got := titles(on)
			if got += fmt.Sprint(" ", len(set.Problems)); got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("rules are %q, not %q", got, want)
			}
		}
	}
	await("one 0")
	put("..v2", "second")
	await("second 0")
	write(t, filepath.Join(root, "two.yml"), rule(idTwo, "two"))
	await("second two 0")
	write(t, filepath.Join(root, "two.yml"), "title: broken\ndetection: {condition: x}\n")
	await("second 1")
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root+".away", "two.yml"), rule(idTwo, "back"))
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	await("second back 0")
}

func TestNewLoaderFails(t *testing.T) {
	if _, err := detect.NewLoader([]detect.Source{{Name: filepath.Join(t.TempDir(), "nothing")}}, "", quiet); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a source that is not there is %v", err)
	}
	if _, err := detect.NewLoader(nil, t.TempDir(), quiet); err == nil {
		t.Error("a list of switched-off rules that is a folder is no error")
	}
}

func TestCases(t *testing.T) {
	event := func(command string) string {
		return fmt.Sprintf("{agent_id: a, event_id: e, event_type: process, severity: info, version: '1', host: {hostname: h, os: Linux}, process: {name: /x, pid: 1, command_line: %s, user: u}}", command)
	}
	dir := folder(t, map[string]string{
		"good.yml": rule(idOne, "one"), "good.test.yml": "fires:\n  a: " + event("one") + "\n  b: " + event("other") + "\nsilent:\n  c: " + event("one") + "\n",
		"none.yaml": rule(idTwo, "two"), "half.yml": rule(idTwo, "half"), "half.test.yml": "fires:\n  a: " + event("half") + "\n",
		"lost.test.yml": "fires: {}\n", "table.yml": "logsources: {}\n", "broken.yml": "title: x\ndetection: {condition: y}\n", "broken.test.yml": "",
	})
	results, err := detect.Test([]detect.Source{{Name: dir}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		text, _, _ := strings.Cut(r.Err, ":")
		got = append(got, fmt.Sprintf("%s|%s|%s", strings.TrimPrefix(r.File, dir+"/"), r.Case, text))
	}
	want := []string{
		"broken.test.yml||" + filepath.Join(dir, "broken.yml"),
		"good.test.yml|fires a|", "good.test.yml|fires b|fired is false", "good.test.yml|silent c|fired is true",
		"half.test.yml||a case that fires and one that is silent are needed",
		"lost.test.yml||there is no rule beside these cases",
		"none.test.yml||the rule has no cases",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := detect.Test([]detect.Source{{Name: filepath.Join(dir, "nothing")}}); err == nil {
		t.Error("a source that is not there is no error")
	}
}
