package ast_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/sigma"
)

func TestCanHold(t *testing.T) {
	for _, c := range []struct {
		detection string // searches and a condition; events have the fields Image and User
		want      bool
		missing   string
	}{
		{"sel: {Image: a}\n  condition: sel", true, ""},
		{"sel: {Image: a, Parent: b}\n  condition: sel", false, "Parent"},
		{"sel: [{Image: a}, {Parent: b}]\n  condition: sel", true, "Parent"},
		{"sel: {Image: a}\n  filter: {Parent: b}\n  condition: sel and not filter", true, "Parent"},
		{"sel: {Image: a}\n  must: {Parent: b}\n  condition: sel and not (not must)", false, "Parent"},
		{"sel_a: {Parent: a}\n  sel_b: {Hash: b}\n  condition: 1 of sel_*", false, "Hash Parent"},
		{"sel: {Parent: null}\n  condition: sel", true, "Parent"},
		{"sel: {Parent|exists: false}\n  condition: sel", true, "Parent"},
		{"sel: {Parent|exists: true}\n  condition: sel", false, "Parent"},
		{"sel: {Parent|exists: true}\n  condition: not sel", true, "Parent"},
		{"sel: {Parent|neq: a}\n  condition: sel", true, "Parent"},
		{"sel: [word]\n  condition: sel", true, ""},
	} {
		text := "title: t\nlogsource: {category: c}\ndetection:\n  " + c.detection + "\n"
		parsed, err := sigma.Parse("r.yml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", c.detection, err)
		}
		ok, missing := parsed.Rules[0].Detections.CanHold(func(name string) bool { return slices.Contains([]string{"Image", "User"}, name) })
		if ok != c.want || strings.Join(missing, " ") != c.missing {
			t.Errorf("%s: %t, missing %v; want %t, %q", c.detection, ok, missing, c.want, c.missing)
		}
	}
}

func TestCorrelationCanHold(t *testing.T) {
	for _, c := range []struct {
		correlation string
		canFire     string
		want        bool
	}{
		{"type: event_count\n  rules: [a, b]\n  timespan: 1m\n  condition: {gte: 2}", "a", true},
		{"type: event_count\n  rules: [a, b]\n  timespan: 1m\n  condition: {gte: 2}", "", false},
		{"type: temporal\n  rules: [a, b]\n  timespan: 1m", "a", false},
		{"type: temporal\n  rules: [a, b]\n  timespan: 1m", "a b", true},
		{"type: temporal\n  rules: [a, b]\n  timespan: 1m\n  condition: a and not b", "a", true},
		{"type: temporal\n  rules: [a, b]\n  timespan: 1m\n  condition: a and not b", "b", false},
	} {
		parsed, err := sigma.Parse("c.yml", []byte("title: t\ncorrelation:\n  "+c.correlation+"\n"))
		if err != nil {
			t.Fatalf("%s: %v", c.correlation, err)
		}
		fires := strings.Fields(c.canFire)
		ok, silent := parsed.Correlations[0].CanHold(func(ref string) bool { return slices.Contains(fires, ref) })
		if ok != c.want || len(silent) != 2-len(fires) {
			t.Errorf("%s with %q: %t, silent %v; want %t", c.correlation, c.canFire, ok, silent, c.want)
		}
	}
}
