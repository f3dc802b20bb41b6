package ruleset_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// writePack writes a pack of one rule, and of a filter with the given rules.
func writePack(t *testing.T, number int, rules string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, text string) {
		testenv.Check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("rule.yml", packRule(number))
	if rules != "" {
		write("filter.yml", fmt.Sprintf(`title: Filter of %d
id: 00000000-0000-4000-9000-%012d
logsource: {category: process_creation}
filter:
  rules: %s
  none: {Image: /never}
  condition: none
`, number, number, rules))
	}
	return dir
}

// A pack's filters apply to the pack's own rules, and to those of others only if
// that was asked for.
func TestPackFilters(t *testing.T) {
	f := newPackDir(t)
	_, err := f.Add(t.Context(), writePack(t, 1, ""), ruleset.AddOptions{Name: "mine"})
	testenv.Check(t, err)
	matching := func() (ids string, problems []ruleset.Problem) {
		t.Helper()
		set, err := ruleset.Load([]ruleset.Source{{Name: f.Path, Packs: true}}, nil)
		testenv.Check(t, err)
		event := []sigma.Field{{Name: "CommandLine", Value: sigma.Value{Kind: sigma.String, Text: "x"}}}
		for _, r := range sigma.NewMatcher().Match(set.Rules.Group(sigma.LogSource{Product: "linux", Category: "process_creation"}), event, nil) {
			ids += r.ID[len(r.ID)-1:]
		}
		return ids, set.Problems
	}
	for _, c := range []struct {
		rules string
		any   bool
		want  string // the last digits of the rules that no filter applies to
		says  string
	}{
		{"any", false, "1", ""},
		{"any", true, "", ""},
		{"[00000000-0000-4000-8000-000000000001]", false, "12", "which is of another pack"},
		{"[00000000-0000-4000-8000-000000000001]", true, "2", ""},
	} {
		_, err := f.Add(t.Context(), writePack(t, 2, c.rules), ruleset.AddOptions{Name: "other", FiltersAny: c.any})
		testenv.Check(t, err)
		got, problems := matching()
		if got != c.want {
			t.Errorf("%+v: no filter applies to %q, want %q", c, got, c.want)
		}
		if says := fmt.Sprint(problems); (c.says == "") != (len(problems) == 0) || !strings.Contains(says, c.says) {
			t.Errorf("%+v: problems %s", c, says)
		}
	}
}

// An id with spaces could be taken for several others in the list of disabled rules.
func TestUnusableID(t *testing.T) {
	dir := t.TempDir()
	for i, id := range []string{`"a b"`, `"a\nb"`, `"\u202eb"`, `"\u2028"`, strings.Repeat("x", 200)} {
		text := strings.Replace(packRule(1), "id: 00000000-0000-4000-8000-000000000001", "id: "+id, 1)
		testenv.Check(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".yml")), []byte(text), 0o600))
	}
	set, err := ruleset.Load([]ruleset.Source{{Name: dir}}, nil)
	testenv.Check(t, err)
	if len(set.Enabled) != 0 || len(set.Problems) != 5 {
		t.Errorf("%d rules loaded, problems %v", len(set.Enabled), set.Problems)
	}
}

func TestPinnedPack(t *testing.T) {
	file := filepath.Join(writePack(t, 1, ""), "rule.yml")
	text, err := os.ReadFile(file)
	testenv.Check(t, err)
	sum := sha256.Sum256(text)
	f := newPackDir(t)
	_, err = f.Add(t.Context(), file, ruleset.AddOptions{Name: "pinned", SHA256: strings.ToUpper(hex.EncodeToString(sum[:]))})
	testenv.Check(t, err)
	sum[0]++
	if _, err := f.Add(t.Context(), file, ruleset.AddOptions{Name: "other", SHA256: hex.EncodeToString(sum[:])}); !errors.Is(err, ruleset.ErrSHA256Mismatch) {
		t.Errorf("with another hash: %v", err)
	}
	names, err := f.Names()
	testenv.Check(t, err)
	if fmt.Sprint(names) != "[pinned]" {
		t.Errorf("packs %v", names)
	}
}
