package sigma_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

// Filters narrow down the rules that they name or, with any, those of their
// logsource.
func TestFilters(t *testing.T) {
	rules := ""
	for _, r := range []string{"a: {product: p}", "b: {product: p, service: s}", "c: {product: q}"} {
		name, source, _ := strings.Cut(r, ": ")
		rules += fmt.Sprintf("title: %s\nid: 0000000%s-id\nname: %s\nlevel: low\nlogsource: %s\ndetection: {selection_x: {F: yes}, condition: 1 of selection_*}\n---\n", name, name, name, source)
	}
	for name, c := range map[string]struct{ filter, want string }{
		"none":                      {"", "abc abc"},
		"by name":                   {"logsource: {product: p}\nfilter: {rules: [a], f: {U: admin}, condition: not f}", "bc abc"},
		"by id, in any case":        {"logsource: {product: p}\nfilter: {rules: 0000000A-ID, f: {U: admin}, condition: not f}", "bc abc"},
		"any":                       {"logsource: {product: p}\nfilter: {rules: any, f: {U: admin}, condition: not f}", "c abc"},
		"an empty list":             {"logsource: {product: p}\nfilter: {rules: [], f: {U: admin}, condition: not f}", "c abc"},
		"a narrower logsource":      {"logsource: {product: p, service: s}\nfilter: {rules: any, f: {U: admin}, condition: not f}", "ac abc"},
		"not negated":               {"logsource: {product: p}\nfilter: {rules: any, f: {U: admin}, condition: f}", "abc c"},
		"its own searches":          {"logsource: {product: p}\nfilter: {rules: any, selection_f: {U: admin}, condition: not 1 of selection_*}", "c abc"},
		"them":                      {"logsource: {product: p}\nfilter: {rules: any, f: {U: admin}, g: {F: yes}, condition: not all of them}", "c abc"},
		"named, of other logsource": {"logsource: {product: q}\nfilter: {rules: [a], f: {U: admin}, condition: not f}", "abc abc"},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := sigma.Parse("f.yml", []byte(rules+"title: f\n"+c.filter+"\n"))
			if err != nil && c.filter != "" {
				t.Fatal(err)
			}
			rs, errs := sigma.Compile(parsed, sigma.Options{})
			if len(errs) > 0 {
				t.Fatal(errs[0])
			}
			if got := filtered(t, rs, parsed, "admin") + " " + filtered(t, rs, parsed, "user"); got != c.want {
				t.Errorf("matching %q, want %q", got, c.want)
			}
		})
	}
}

// filtered returns the names of the rules that match the event of a user, by the engine and
// the oracle.
func filtered(t *testing.T, rs *sigma.RuleSet, parsed ast.Collection, user string) (names string) {
	fields, err := sigmatest.Flatten([]byte(fmt.Sprintf(`{"F":"yes","U":%q}`, user)))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rs.Rules() {
		matches := slices.Contains(sigma.NewMatcher().Match(rs.Group(r.LogSource), fields, nil), r)
		if oracle := sigma.OracleMatches(parsed.Rules[i], sigma.Options{}, fields, parsed.Filters...); oracle != matches {
			t.Errorf("%s: engine %t, oracle %t", r.Name, matches, oracle)
		}
		if matches {
			names += r.Name
		}
	}
	return names
}

func TestFilterErrors(t *testing.T) {
	for text, want := range map[string]string{
		"title: f\nfilter: {rules: any, f: {U: x}, condition: f}":                                     "f.yml:1:1: the filter has no logsource",
		"title: f\nlogsource: {product: p}\nfilter: {f: {U: x}, condition: f}":                        "f.yml:3:9: the filter does not say which rules it is for (add rules: a list of ids or names, or any)",
		"title: f\nlogsource: {product: p}\nfilter: {rules: any, f: {U: x}}":                          "f.yml:3:9: the detection has no condition",
		"title: f\nlogsource: {product: p}\nfilter: {rules: any, f: {U: x}, condition: [f, f]}":       "f.yml:3:9: a filter has one condition",
		"title: f\nlogsource: {product: p}\nfilter: {rules: any, f: {U|cidr: x}, condition: f}":       `f.yml:3:26: filter "f": field U: modifier cidr: "x" is not a network in CIDR notation`,
		"title: f\nlogsource: {product: p}\nfilter:\n  f: {U: x}\n  rules: [nothing]\n  condition: f": `f.yml:5:3: filter "f": names the rule "nothing", which does not exist (rules are named by their id or name)`,
	} {
		parsed, err := sigma.Parse("f.yml", []byte(text))
		if err == nil {
			_, errs := sigma.Compile(parsed, sigma.Options{})
			if len(errs) > 0 {
				err = errs[0]
			}
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
}
