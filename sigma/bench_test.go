package sigma_test

import (
	"testing"

	"github.com/picket-edr/picket/sigma"
)

// BenchmarkMatch matches recorded events against all of SigmaHQ.
func BenchmarkMatch(b *testing.B) {
	rs, _ := sigma.Compile(sigmaHQRules(b), sigma.Options{})
	all := otrfEvents(b)
	for _, part := range []struct {
		name string
		of   func(ev event) bool
	}{
		{"mix", func(event) bool { return true }},
		{"process_creation", func(ev event) bool { return ev.has("process_creation") }},
		{"powershell_4103_4104", func(ev event) bool { return ev.has("ps_module") || ev.has("ps_script") }},
		{"no_powershell", func(ev event) bool {
			return !ev.has("ps_module") && !ev.has("ps_script") && !ev.has("ps_classic_script")
		}},
		{"image_load", func(ev event) bool { return ev.has("image_load") }},
		{"process_access", func(ev event) bool { return ev.has("process_access") }},
		{"registry", func(ev event) bool { return ev.has("registry_event") }},
		{"security", func(ev event) bool { return len(ev.sources) == 1 && ev.sources[0].Service == "security" }},
	} {
		b.Run(part.name, func(b *testing.B) {
			var events []event
			var groups []*sigma.Group
			for _, ev := range all {
				if part.of(ev) {
					events = append(events, ev)
					groups = append(groups, rs.Group(ev.sources...))
				}
			}
			m := sigma.NewMatcher()
			var fired []*sigma.Rule
			hits := 0
			b.ReportAllocs()
			n, cpu := 0, cpuTime()
			for b.Loop() {
				i := n % len(events)
				fired = m.Match(groups[i], events[i].fields, fired[:0])
				hits += len(fired)
				n++
			}
			cpu = cpuTime() - cpu
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(n)/cpu.Seconds(), "events/cpu-s")
			b.ReportMetric(float64(hits)/float64(n), "hits/event")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func (ev event) has(category string) bool {
	for _, s := range ev.sources {
		if s.Category == category {
			return true
		}
	}
	return false
}

// BenchmarkCompile compiles all of SigmaHQ.
func BenchmarkCompile(b *testing.B) {
	rules := sigmaHQRules(b)
	b.ReportAllocs()
	for b.Loop() {
		sigma.Compile(rules, sigma.Options{})
	}
}
