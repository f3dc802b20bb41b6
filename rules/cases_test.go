package rules_test

import (
	"testing"

	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/rules"
	"github.com/picket-edr/picket/sigma/lint"
)

// Every rule of the pack loads without a warning, and has cases, which pass.
func TestCases(t *testing.T) {
	sources := []ruleset.Source{{Name: "builtin", FS: rules.FS}}
	set, err := ruleset.Load(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range set.Problems {
		t.Error(p)
	}
	if n := set.Rules.Len(); n < 60 {
		t.Errorf("%d rules", n)
	}
	for _, r := range set.Rules.Rules() {
		for _, w := range r.Warnings {
			t.Errorf("%s: %s", r.File, w)
		}
		if r.Description == "" || r.Author == "" || len(r.FalsePositives) == 0 {
			t.Errorf("%s: a description, an author and false positives are needed", r.File)
		}
	}
	for _, f := range lint.Run(set.Parsed, lint.Options{}) {
		if f.Severity > lint.Info {
			t.Error(f)
		}
	}
	results, err := ruleset.TestRules(sources)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != "" {
			t.Errorf("%s: %s: %s", r.File, r.Case, r.Err)
		}
	}
}
