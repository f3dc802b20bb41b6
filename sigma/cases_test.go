package sigma_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

// A testCase defines what a rule means; Source is where that is specified.
type testCase struct {
	Name, Source string
	Detection    string
	Placeholders map[string][]string
	Match, Miss  []string
	Error        string
}

// rule returns the case as a rule file.
func (c testCase) rule() string {
	var b strings.Builder
	b.WriteString("title: " + "case\nlevel: low\nlogsource: {product: test}\ndetection:\n")
	for line := range strings.Lines(c.Detection) {
		b.WriteString("  " + line)
	}
	if !strings.Contains(c.Detection, "condition:") {
		b.WriteString("  condition: selection\n")
	}
	return b.String()
}

func testCases(t testing.TB) []testCase {
	files, err := filepath.Glob(filepath.Join("testdata", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var all []testCase
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		dec := yaml.NewDecoder(bytes.NewReader(data))
		dec.KnownFields(true)
		var cases []testCase
		if err := dec.Decode(&cases); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, c := range cases {
			if c.Source == "" {
				t.Errorf("%s: %s: the case does not say where it is from", name, c.Name)
			}
		}
		all = append(all, cases...)
	}
	return all
}

// The cases say what a rule means. The engine and the oracle must both agree.
func TestCases(t *testing.T) {
	for _, c := range testCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			rules, err := sigma.Parse("case.yml", []byte(c.rule()))
			o := sigma.Options{Placeholders: c.Placeholders}
			var rs *sigma.RuleSet
			if err == nil {
				var errs []*ast.DocumentError
				rs, errs = sigma.Compile(rules, o)
				if len(errs) > 0 {
					err = errs[0]
				}
			}
			if c.Error != "" {
				if err == nil || !strings.Contains(err.Error(), c.Error) {
					t.Fatalf("got error %v, want one with %q", err, c.Error)
				}
				if !strings.HasPrefix(err.Error(), "case.yml:") {
					t.Errorf("error without its place: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range c.Match {
				checkCase(t, rs, rules.Rules[0], o, text, true)
			}
			for _, text := range c.Miss {
				checkCase(t, rs, rules.Rules[0], o, text, false)
			}
			if len(c.Match) == 0 || len(c.Miss) == 0 {
				t.Error("a case needs events that match and events that don't")
			}
		})
	}
}

func checkCase(t *testing.T, rs *sigma.RuleSet, r *ast.Rule, o sigma.Options, text string, want bool) {
	t.Helper()
	fields, err := sigmatest.Flatten([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	matched := sigma.NewMatcher().Match(rs.Group(sigma.LogSource{Product: "test"}), fields, nil)
	if got := len(matched) == 1; got != want {
		t.Errorf("%s: match = %v, want %v", text, got, want)
	}
	if got := sigma.OracleMatches(r, o, fields); got != want {
		t.Errorf("%s: oracle = %v, want %v", text, got, want)
	}
}
