package sigma_test

import (
	"testing"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

// BenchmarkMatch matches recorded events against all of SigmaHQ.
func BenchmarkMatch(b *testing.B) {
	rs, _ := sigma.Compile(sigmatest.SigmaHQRules(b), sigma.Options{})
	all := sigmatest.RecordedEvents(b)
	for _, part := range []struct {
		name string
		of   func(ev sigmatest.Event) bool
	}{
		{"mix", func(sigmatest.Event) bool { return true }},
		{"process_creation", func(ev sigmatest.Event) bool { return has(ev, "process_creation") }},
		{"powershell_4103_4104", func(ev sigmatest.Event) bool { return has(ev, "ps_module") || has(ev, "ps_script") }},
		{"no_powershell", func(ev sigmatest.Event) bool {
			return !has(ev, "ps_module") && !has(ev, "ps_script") && !has(ev, "ps_classic_script")
		}},
		{"image_load", func(ev sigmatest.Event) bool { return has(ev, "image_load") }},
		{"process_access", func(ev sigmatest.Event) bool { return has(ev, "process_access") }},
		{"registry", func(ev sigmatest.Event) bool { return has(ev, "registry_event") }},
		{"security", func(ev sigmatest.Event) bool { return len(ev.Sources) == 1 && ev.Sources[0].Service == "security" }},
	} {
		b.Run(part.name, func(b *testing.B) {
			var events []sigmatest.Event
			var groups []*sigma.RuleGroup
			for _, ev := range all {
				if part.of(ev) {
					events = append(events, ev)
					groups = append(groups, rs.Group(ev.Sources...))
				}
			}
			m := sigma.NewMatcher()
			var matched []*sigma.Rule
			matches := 0
			b.ReportAllocs()
			n, cpu := 0, cpuTime()
			for b.Loop() {
				i := n % len(events)
				matched = m.Match(groups[i], events[i].Fields, matched[:0])
				matches += len(matched)
				n++
			}
			cpu = cpuTime() - cpu
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(n)/cpu.Seconds(), "events/cpu-s")
			b.ReportMetric(float64(matches)/float64(n), "hits/event")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func has(ev sigmatest.Event, category string) bool {
	for _, s := range ev.Sources {
		if s.Category == category {
			return true
		}
	}
	return false
}

// BenchmarkCompile compiles all of SigmaHQ.
func BenchmarkCompile(b *testing.B) {
	rules := sigmatest.SigmaHQRules(b)
	b.ReportAllocs()
	for b.Loop() {
		sigma.Compile(rules, sigma.Options{})
	}
}
