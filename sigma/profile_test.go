package sigma_test

import (
	"slices"
	"testing"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

const profiled = `
title: By a suffix
level: low
logsource: {product: p}
detection:
  s: {Image|endswith: ['\a.exe', '\b.exe'], EventID: 1}
  condition: s
---
title: By nothing
level: low
logsource: {product: p}
detection:
  s: {Image: x}
  condition: not s
---
title: By others
level: low
logsource: {product: p}
detection:
  a: {Number: [10, 2.5, -300]}
  b: {CommandLine|contains: [one, two, three, four]}
  c: {Address|cidr: 10.0.0.0/8}
  d: {Text|re: 'abc[0-9]+'}
  condition: 1 of *
---
title: Elsewhere
level: low
logsource: {product: q}
detection: {s: {Image: x}, condition: s}
`

func TestProfile(t *testing.T) {
	parsed, err := sigma.Parse("p.yml", []byte(profiled))
	if err != nil {
		t.Fatal(err)
	}
	rs, errs := sigma.Compile(parsed, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	m, group := sigma.NewMatcher(), rs.Group(sigma.LogSource{Product: "p"})
	var p sigma.Profile
	if p.Rules() != nil {
		t.Error("rules before any event")
	}
	for _, text := range []string{`{"Image":"c:\\a.exe","EventID":1}`, `{"Image":"c:\\b.exe","EventID":2}`, `{"Image":"x"}`} {
		fields, err := sigmatest.Flatten([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		m.Profile(group, fields, &p)
		m.Profile(nil, fields, &p)
	}
	if p.Events != 6 {
		t.Errorf("%d events, want 6", p.Events)
	}
	got := p.Rules()
	byTitle := func(title string) sigma.RuleProfile {
		i := slices.IndexFunc(got, func(r sigma.RuleProfile) bool { return r.Rule.Title == title })
		if i < 0 {
			t.Fatalf("no rule %q", title)
		}
		r := got[i]
		r.Rule, r.Time = nil, 0
		return r
	}
	if len(got) != 3 {
		t.Fatalf("%d rules, want those of the logsource, 3", len(got))
	}
	for title, want := range map[string]sigma.RuleProfile{
		"By a suffix": {Events: 3, Candidates: 2, Matches: 1, Prefilter: `Image endswith \a.exe, \b.exe`},
		"By nothing":  {Events: 3, Candidates: 3, Matches: 2},
		"By others":   {Events: 3, Prefilter: `Number = 10, 2.5, -300 or Address is present or CommandLine contains one, two, four and 1 more or 1 more`},
	} {
		if r := byTitle(title); r != want {
			t.Errorf("%s:\n%+v, want\n%+v", title, r, want)
		}
	}
}

// Profile finds what Match does.
func TestProfileMatches(t *testing.T) {
	rs, _ := sigma.Compile(sigmatest.SigmaHQRules(t), sigma.Options{})
	m := sigma.NewMatcher()
	var p sigma.Profile
	var matched []*sigma.Rule
	want := make(map[*sigma.Rule]int64)
	for i, ev := range sigmatest.RecordedEvents(t) {
		if i == 5000 {
			break
		}
		group := rs.Group(ev.Sources...)
		matched = m.Match(group, ev.Fields, matched[:0])
		for _, r := range matched {
			want[r]++
		}
		m.Profile(group, ev.Fields, &p)
	}
	for _, r := range p.Rules() {
		if r.Matches != want[r.Rule] {
			t.Errorf("%s: %d matches, want %d", r.Rule.Title, r.Matches, want[r.Rule])
		}
	}
}
