package sigma_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

// FuzzMatch compares the engine with the oracle on any rules and event.
func FuzzMatch(f *testing.F) {
	for _, c := range testCases(f) {
		if c.Error == "" && c.Placeholders == nil {
			f.Add(c.rule(), strings.Join(slices.Concat(c.Match, c.Miss), "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, rule, events string) {
		if len(rule) > 2000 || len(events) > 4000 || strings.Contains(rule, "expand") {
			t.Skip()
		}
		rules, _ := sigma.Parse("fuzz.yml", []byte(rule))
		rs, _ := sigma.Compile(rules, sigma.Options{})
		if rs.Len() == 0 {
			t.Skip()
		}
		m := sigma.NewMatcher()
		for text := range strings.Lines(events) {
			fields, err := sigmatest.Flatten([]byte(text))
			if err != nil {
				continue
			}
			for _, r := range rs.Rules() {
				matched := m.Match(rs.Group(r.LogSource), fields, nil)
				want := sigma.OracleMatches(&r.Rule, sigma.Options{}, fields, rules.Filters...)
				if got := slices.Contains(matched, r); got != want {
					t.Errorf("engine %v, oracle %v on %s", got, want, text)
				}
				if why := r.Explain(fields); why != nil && !want {
					t.Errorf("explained without a match by %v on %s", why, text)
				}
			}
		}
	})
}

// FuzzParse finds out whether any bytes make the parser or compiler panic.
func FuzzParse(f *testing.F) {
	for _, c := range testCases(f) {
		f.Add([]byte(c.rule()))
	}
	f.Add([]byte("a: &a [*a]\n---\n? [x]\n: y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := sigma.Parse("fuzz.yml", data)
		if len(rules.Rules)+len(rules.Correlations)+len(rules.Filters) == 0 && err == nil && len(strings.TrimSpace(string(data))) == 0 {
			t.Error("neither rules nor an error")
		}
		rs, errs := sigma.Compile(rules, sigma.Options{})
		if rs.Len()+len(errs) < len(rules.Rules) {
			t.Errorf("%d rules became %d and %d errors", len(rules.Rules), rs.Len(), len(errs))
		}
	})
}
