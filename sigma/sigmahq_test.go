package sigma_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

// Every rule of SigmaHQ parses and compiles, but for those that need values
// for a placeholder.
func TestSigmaHQ(t *testing.T) {
	rules := sigmatest.SigmaHQRules(t)
	if len(rules.Rules) != 3754 {
		t.Errorf("parsed %d rules, want 3754", len(rules.Rules))
	}
	rs, errs := sigma.Compile(rules, sigma.Options{})
	var left []string
	for _, err := range errs {
		left = append(left, fmt.Sprintf("%s: %s", filepath.Base(err.Meta.File), err.Reason))
	}
	want := []string{
		"win_security_adcs_certighost_cdc_chase_request.yml: field Attributes: modifier expand: placeholder %known_cdcs% has no value",
		"win_security_adcs_certighost_cert_issued_via_chase.yml: field Attributes: modifier expand: placeholder %known_cdcs% has no value",
	}
	if d := cmp.Diff(want, left); d != "" {
		t.Errorf("rules left out (-want +got):\n%s", d)
	}
	if got := rs.Len(); got != 3752 {
		t.Errorf("compiled %d rules, want 3752", got)
	}
	rs, errs = sigma.Compile(rules, sigma.Options{Placeholders: map[string][]string{"known_cdcs": {"dc1", "dc2.*"}}})
	if len(errs) != 0 || rs.Len() != 3754 {
		t.Errorf("with placeholders: compiled %d rules, errors %v", rs.Len(), errs)
	}
	warnings := 0
	for _, r := range rules.Rules {
		warnings += len(r.Warnings)
	}
	t.Logf("%d warnings", warnings)
}

// The rules that match recorded events are those that an independent
// evaluator found.
func TestExpectedHits(t *testing.T) {
	rs, _ := sigma.Compile(sigmatest.SigmaHQRules(t), sigma.Options{})
	data, err := os.ReadFile(filepath.Join(testenv.ExternalDataDir(t), "otrf", "expected.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]bool)
	for line := range strings.Lines(string(data)) {
		want[strings.TrimSpace(line)] = true
	}
	m := sigma.NewMatcher()
	var matched []*sigma.Rule
	found := 0
	for _, ev := range sigmatest.RecordedEvents(t) {
		matched = m.Match(rs.Group(ev.Sources...), ev.Fields, matched[:0])
		for _, r := range matched {
			key := fmt.Sprintf("%s\t%d\t%s", ev.File, ev.Number, r.ID)
			if !want[key] {
				t.Errorf("unexpected: %s (%s)", key, r.Title)
				continue
			}
			found++
			delete(want, key)
			if len(r.Explain(ev.Fields)) == 0 {
				t.Errorf("no evidence: %s (%s)", key, r.Title)
			}
		}
	}
	for key := range want {
		t.Errorf("missing: %s", key)
	}
	t.Logf("%d hits as expected", found)
}

// All rules of SigmaHQ, with the groups of all the logsources that they name,
// stay small.
func TestMemory(t *testing.T) {
	rules := sigmatest.SigmaHQRules(t)
	before := heap()
	rs, _ := sigma.Compile(rules, sigma.Options{})
	compiled := heap()
	for _, r := range rules.Rules {
		rs.Group(r.LogSource)
	}
	after := heap()
	t.Logf("compiled %.1f MiB, with groups %.1f MiB", mib(compiled-before), mib(after-before))
	if mib(after-before) > 60 {
		t.Errorf("the rule set takes %.1f MiB, want 60 at most", mib(after-before))
	}
	runtime.KeepAlive(rs)
}

func heap() uint64 {
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapAlloc
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }
