package ruleset_test

import (
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
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect/detecttest"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/testenv"
)

var discardLog = slog.New(slog.DiscardHandler)

// writeFiles writes files to a new directory and returns it.
func writeFiles(t testing.TB, files map[string]string) string {
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

func titles(rules []ruleset.RuleInfo) string {
	var all []string
	for _, r := range rules {
		all = append(all, r.Title)
	}
	return strings.Join(all, " ")
}

// A rule that was disabled, or enabled again, is so after a restart.
func TestSetEnabled(t *testing.T) {
	dir := writeFiles(t, map[string]string{"1.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one"), "2.yml": detecttest.RuleMatching(detecttest.RuleIDTwo, "two")})
	offFile := filepath.Join(t.TempDir(), "rules-off")
	load := func() *ruleset.Loader {
		l, err := ruleset.NewLoader([]ruleset.Source{{Name: dir}}, offFile, discardLog)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	state := func(l *ruleset.Loader) string {
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
	}{{detecttest.RuleIDOne, false, "two|one"}, {detecttest.RuleIDTwo, false, "|one two"}, {detecttest.RuleIDTwo, true, "two|one"}, {detecttest.RuleIDTwo, true, "two|one"}, {detecttest.RuleIDOne, true, "one two|"}} {
		l := load()
		if err := l.SetEnabled(t.Context(), step.id, step.on); err != nil {
			t.Fatal(err)
		}
		if got := state(l); got != step.want {
			t.Errorf("after switching %s to %t: %s", step.id, step.on, got)
		}
		if got := state(load()); got != step.want {
			t.Errorf("after a restart: %s, not %s", got, step.want)
		}
	}
	if err := load().SetEnabled(t.Context(), "nothing", true); !errors.Is(err, picket.ErrNotFound) {
		t.Errorf("switching a rule that is not there is %v", err)
	}
}

// Concurrent changes do not undo each other.
func TestConcurrentSetEnabled(t *testing.T) {
	files := make(map[string]string)
	for i := range 8 {
		files[fmt.Sprintf("%d.yml", i)] = detecttest.RuleMatching(fmt.Sprintf("00000000-0000-4000-8000-%012d", i), fmt.Sprint("rule", i))
	}
	l, err := ruleset.NewLoader([]ruleset.Source{{Name: writeFiles(t, files)}}, filepath.Join(t.TempDir(), "rules-off"), discardLog)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := l.SetEnabled(t.Context(), fmt.Sprintf("00000000-0000-4000-8000-%012d", i), false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if on, off := l.List(); len(on) != 0 || len(off) != 8 {
		t.Errorf("%d are on and %d off", len(on), len(off))
	}
}

// Watch reloads changed files, also in a volume of Kubernetes, and keeps the
// previous rules while the files cannot be read.
func TestWatch(t *testing.T) {
	root := t.TempDir()
	put := func(version, word string) {
		write(t, filepath.Join(root, version, "rule.yml"), detecttest.RuleMatching(detecttest.RuleIDOne, word))
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
	l, err := ruleset.NewLoader([]ruleset.Source{{Name: root}}, "", discardLog)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); l.Watch(ctx, time.Millisecond) }()
	defer func() { stop(); <-watched }()
	await := func(want string) {
		t.Helper()
		testenv.Until(t, "the rules are "+want, func() bool {
			enabled, _ := l.List()
			set, _ := l.Status()
			return titles(enabled)+fmt.Sprint(" ", len(set.Problems)) == want
		})
	}
	await("one 0")
	put("..v2", "second")
	await("second 0")
	write(t, filepath.Join(root, "two.yml"), detecttest.RuleMatching(detecttest.RuleIDTwo, "two"))
	await("second two 0")
	write(t, filepath.Join(root, "two.yml"), "title: broken\ndetection: {condition: x}\n")
	await("second two 1") // the version without the mistake keeps running
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root+".away", "two.yml"), detecttest.RuleMatching(detecttest.RuleIDTwo, "back"))
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	await("second back 0")
}

// A rule that is saved with a mistake keeps running as it was, is reported, and is
// published so, until its file is fixed or removed.
func TestMistakeInFile(t *testing.T) {
	one := detecttest.RuleMatching(detecttest.RuleIDOne, "one")
	dir := writeFiles(t, map[string]string{"1.yml": one, "2.yml": detecttest.RuleMatching(detecttest.RuleIDTwo, "two"), "3.yml": "title: never good\ndetection: {}\n"})
	l, err := ruleset.NewLoader([]ruleset.Source{{Name: dir}}, "", discardLog)
	testenv.Check(t, err)
	file := filepath.Join(dir, "1.yml")
	for _, step := range []struct {
		text, enabled     string
		problems, earlier int
	}{
		{one, "one two", 1, 0},
		{strings.Replace(one, "contains", "contians", 1), "one two", 2, 1},
		{"title: ][", "one two", 2, 1},
		{strings.Replace(one, detecttest.RuleIDOne, detecttest.RuleIDTwo, 1), "one", 2, 0}, // of two rules with an id the first runs
		{strings.ReplaceAll(one, "one", "new"), "new two", 1, 0},
		{"title: ][", "new two", 2, 1},
		{"", "two", 1, 0},
		{"title: ][", "two", 2, 0},
	} {
		if step.text == "" {
			testenv.Check(t, os.Remove(file))
		} else {
			write(t, file, step.text)
		}
		testenv.Check(t, l.Load())
		enabled, _ := l.List()
		set, _ := l.Status()
		if titles(enabled) != step.enabled || len(set.Problems) != step.problems || set.FilesInEarlierVersion() != step.earlier {
			t.Errorf("after %q: %s run, %d files in an earlier version, problems %v", step.text, titles(enabled), set.FilesInEarlierVersion(), set.Problems)
		}
	}
}

// The earlier versions of files take bounded memory: the last files of many have none.
func TestMistakesInManyFiles(t *testing.T) {
	padding := "\n#" + strings.Repeat("x", 3<<20)
	files := make(map[string]string)
	for i := range 12 {
		files[fmt.Sprintf("%02d.yml", i)] = detecttest.RuleMatching(fmt.Sprintf("00000000-0000-4000-8000-%012d", i), fmt.Sprint("rule", i)) + padding
	}
	dir := writeFiles(t, files)
	l, err := ruleset.NewLoader([]ruleset.Source{{Name: dir}}, "", discardLog)
	testenv.Check(t, err)
	for name := range files {
		write(t, filepath.Join(dir, name), "title: ][")
	}
	testenv.Check(t, l.Load())
	if set, _ := l.Status(); set.FilesInEarlierVersion() != 10 || len(set.Enabled) != 10 || len(set.Problems) != 12 {
		t.Errorf("%d rules run, %d files in an earlier version, %d problems", len(set.Enabled), set.FilesInEarlierVersion(), len(set.Problems))
	}
}

func TestNewLoaderFails(t *testing.T) {
	if _, err := ruleset.NewLoader([]ruleset.Source{{Name: filepath.Join(t.TempDir(), "nothing")}}, "", discardLog); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a source that is not there is %v", err)
	}
	if _, err := ruleset.NewLoader(nil, t.TempDir(), discardLog); err == nil {
		t.Error("a list of switched-off rules that is a folder is no error")
	}
}

// An optional directory has no rules until it is created.
func TestOptionalSource(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rules")
	l, err := ruleset.NewLoader([]ruleset.Source{{Name: dir, Optional: true}}, "", discardLog)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); l.Watch(ctx, time.Millisecond) }()
	defer func() { stop(); <-watched }()
	for _, want := range []string{"one", "", "one"} {
		if want == "" {
			err = os.RemoveAll(dir)
		} else {
			write(t, filepath.Join(dir, "pack", "1.yml"), detecttest.RuleMatching(detecttest.RuleIDOne, "one"))
		}
		if err != nil {
			t.Fatal(err)
		}
		testenv.Until(t, fmt.Sprintf("the rules are %q", want), func() bool {
			enabled, _ := l.List()
			return titles(enabled) == want
		})
	}
}

// Of two rules with one id, the rule of the first source is used, whatever the
// names of the files.
func TestSourceOrder(t *testing.T) {
	first, second := writeFiles(t, map[string]string{"z.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "first")}), writeFiles(t, map[string]string{"a.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "second")})
	for _, c := range [][2]string{{first, second}, {second, first}} {
		set, err := ruleset.Load([]ruleset.Source{{Name: c[0]}, {Name: c[1]}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{first: "first", second: "second"}[c[0]]
		if got := titles(set.Enabled); got != want || len(set.Problems) != 1 {
			t.Errorf("%q runs, with problems %v", got, set.Problems)
		}
	}
}

// A pipeline is part of the rules: its changes are loaded, and while it is
// malformed the previous rules stay.
func TestLoaderPipeline(t *testing.T) {
	dir := writeFiles(t, map[string]string{"a.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one")})
	pipe := filepath.Join(t.TempDir(), "p.yml")
	write := func(text string) {
		if err := os.WriteFile(pipe, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("transformations: [{type: change_logsource, product: other}]\npostprocessing: []\n")
	l, err := ruleset.NewLoader([]ruleset.Source{{Name: dir}, {Name: pipe, Pipeline: true}}, "", discardLog)
	if err != nil {
		t.Fatal(err)
	}
	product := func() string {
		set, _ := l.Status()
		return set.Rules.Rules()[0].LogSource.Product
	}
	set, _ := l.Status()
	if product() != "other" || len(set.Warnings) != 1 || set.Parsed.Rules[0].LogSource.Product == "other" {
		t.Errorf("product %q, notes %v", product(), set.Warnings)
	}
	write("transformations: [{type: change_logsource, product: another}]\n")
	if err := l.Load(); err != nil || product() != "another" {
		t.Errorf("product %q, %v", product(), err)
	}
	if now, _ := l.Status(); now.Revision == set.Revision {
		t.Error("the revision does not change with the pipeline")
	}
	write("transformations: [{type: nothing}]\n")
	if err := l.Load(); !errors.Is(err, ruleset.ErrPipeline) || product() != "another" {
		t.Errorf("product %q, %v", product(), err)
	}
}
