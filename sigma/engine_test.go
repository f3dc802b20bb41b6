package sigma_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

// On events made out of each rule of SigmaHQ, the engine and the oracle agree
// on that rule and on others of the same group.
func TestMadeEvents(t *testing.T) {
	parsed := sigmatest.SigmaHQRules(t)
	rules := parsed.Rules
	o := sigma.Options{Placeholders: map[string][]string{"known_cdcs": {"dc1", "dc2.*"}}}
	rs, _ := sigma.Compile(parsed, o)
	if rs.Len() != len(rules) {
		t.Fatal("rules were left out")
	}
	index := make(map[*sigma.Rule]int)
	for i, r := range rs.Rules() {
		index[r] = i
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	m := sigma.NewMatcher()
	matched, count := []*sigma.Rule(nil), 0
	for i, r := range rules {
		g := rs.Group(r.LogSource)
		others := g.Rules()
		for range 3 {
			fields := sigma.MakeEvent(r, rnd)
			matched = m.Match(g, fields, matched[:0])
			if !slices.Equal(matched, g.MatchAll(fields, nil)) {
				t.Fatalf("Match and MatchAll differ on\n%q", fields)
			}
			if !slices.IsSortedFunc(matched, func(a, b *sigma.Rule) int { return index[a] - index[b] }) {
				t.Fatal("rules out of order")
			}
			check := []*sigma.Rule{rs.Rules()[i], others[rnd.IntN(len(others))], others[rnd.IntN(len(others))]}
			check = append(check, matched[:min(len(matched), 3)]...)
			for _, c := range check {
				got, want := slices.Contains(matched, c), sigma.OracleMatches(&c.Rule, o, fields)
				if got != want {
					t.Fatalf("%s: engine %v, oracle %v on\n%q", c.File, got, want, fields)
				}
				if want {
					count++
				}
				if explained := c.Explain(fields) != nil; explained && !want {
					t.Errorf("%s: explained without a match", c.File)
				}
			}
		}
	}
	if count < len(rules) {
		t.Errorf("only %d rules matched in all: the events are made badly", count)
	}
	t.Logf("%d matched", count)
}

// On a sample of recorded events, the engine and the oracle agree on every
// rule that applies.
func TestRecordedEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	rs, _ := sigma.Compile(sigmatest.SigmaHQRules(t), sigma.Options{})
	m := sigma.NewMatcher()
	for i, ev := range sigmatest.RecordedEvents(t) {
		g := rs.Group(ev.Sources...)
		matched := m.Match(g, ev.Fields, nil)
		if i%97 != 0 && (len(matched) == 0 || i%7 != 0) {
			continue
		}
		for _, r := range g.Rules() {
			got, want := slices.Contains(matched, r), sigma.OracleMatches(&r.Rule, sigma.Options{}, ev.Fields)
			if got != want {
				t.Errorf("%s:%d: %s: engine %v, oracle %v", ev.File, ev.Number, r.File, got, want)
			}
		}
	}
}

// A match that finds nothing allocates nothing, whatever came before.
func TestNoAllocations(t *testing.T) {
	rs, _ := sigma.Compile(sigmatest.SigmaHQRules(t), sigma.Options{})
	m := sigma.NewMatcher()
	var matched []*sigma.Rule
	for i, ev := range sigmatest.RecordedEvents(t) {
		g := rs.Group(ev.Sources...)
		if matched = m.Match(g, ev.Fields, matched[:0]); len(matched) > 0 || i%31 != 0 {
			continue
		}
		if n := testing.AllocsPerRun(2, func() { matched = m.Match(g, ev.Fields, matched[:0]) }); n != 0 {
			t.Errorf("%s:%d: %v allocations", ev.File, ev.Number, n)
		}
	}
}

func TestRuleIsShared(t *testing.T) {
	rs := compile(t, "F: abc")
	g := rs.Group(sigma.LogSource{Product: "TEST", Category: "x"}, sigma.LogSource{Product: "other"})
	if g == nil || g != rs.Group(sigma.LogSource{Product: "test", Category: "X"}, sigma.LogSource{Product: "Other"}) {
		t.Error("groups of the same sources differ")
	}
	if g != rs.Group(sigma.LogSource{Product: "test"}) {
		t.Error("groups of the same rules differ")
	}
	if rs.Group(sigma.LogSource{Category: "test"}) != nil || rs.Group() != nil {
		t.Error("a group without rules")
	}
	done := make(chan int)
	fields := []sigma.Field{{Name: "F", Value: sigma.Value{Kind: sigma.String, Text: "ABC"}}}
	for range 4 {
		go func() {
			m, n := sigma.NewMatcher(), 0
			for range 200 {
				n += len(m.Match(rs.Group(sigma.LogSource{Product: "test"}), fields, nil))
			}
			done <- n
		}()
	}
	for range 4 {
		if n := <-done; n != 200 {
			t.Errorf("%d matches, want 200", n)
		}
	}
}

// A matcher goes from one rule set to the next.
func TestMatcherOutlivesRuleSet(t *testing.T) {
	m := sigma.NewMatcher()
	for i, yaml := range []string{"F: abc", "{G: x, F: abc}", "F: abc", "{H|contains: [b, c], F: abc}"} {
		rs := compile(t, yaml)
		fields := []sigma.Field{{Name: "F", Value: sigma.Value{Kind: sigma.String, Text: "abc"}}}
		if n := len(m.Match(rs.Group(sigma.LogSource{Product: "test"}), fields, nil)); n != 1-i%2 {
			t.Errorf("rule set %d: %d matches", i, n)
		}
	}
}

func TestExplain(t *testing.T) {
	c := testCase{Detection: "s:\n  - {F|contains: [b1, c1], G: 7}\n  - {H: x}\nkw: [needle]\nf: {N: no}\ncondition: s and kw and not f\n"}
	rules, err := sigma.Parse("x.yml", []byte(c.rule()))
	if err != nil {
		t.Fatal(err)
	}
	if new(sigma.Rule).Explain(nil) != nil {
		t.Error("a rule that Compile did not make explains itself")
	}
	rs, _ := sigma.Compile(rules, sigma.Options{})
	fields, err := sigmatest.Flatten([]byte(`{"F":["a1","xC1x"],"G":7,"H":"y","M":"a needle","N":"yes"}`))
	if err != nil {
		t.Fatal(err)
	}
	got := rs.Rules()[0].Explain(fields)
	for _, want := range []sigma.Evidence{{"F", "xC1x"}, {"G", "7"}, {"M", "a needle"}} {
		if !slices.Contains(got, want) {
			t.Errorf("no evidence %v in %v", want, got)
		}
	}
	if len(got) != 3 {
		t.Errorf("evidence %v, want 3 pieces", got)
	}
}

func compile(t testing.TB, selection string) *sigma.RuleSet {
	t.Helper()
	c := testCase{Detection: "selection:\n  " + selection + "\n"}
	rules, err := sigma.Parse("x.yml", []byte(c.rule()))
	if err != nil {
		t.Fatal(err)
	}
	rs, errs := sigma.Compile(rules, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return rs
}
