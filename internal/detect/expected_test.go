package detect_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/testenv"
)

// sigmaHQ loads all rules of the Sigma project.
func sigmaHQ(t testing.TB) *detect.Engine {
	t.Helper()
	set, err := ruleset.Load([]ruleset.Source{{Name: filepath.Join(testenv.ExternalDataDir(t), "sigmahq")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range set.Problems {
		t.Logf("not loaded: %s", p)
	}
	return detect.NewEngine(set.Rules, nil)
}

// detectFile returns the ids of the rules that fire on each event of a file.
func detectFile(t testing.TB, d *detect.Detector, name string) [][]string {
	t.Helper()
	var fired [][]string
	err := scan.ReadFiles(t.Context(), []string{name}, new(scan.Progress), func(_ string, raw []byte) error {
		matches, err := d.Detect([]picket.Event{{ID: fmt.Sprint(len(fired)), Raw: raw}})
		ids := []string{}
		for _, m := range matches {
			ids = append(ids, m.RuleID)
		}
		slices.Sort(ids)
		fired = append(fired, ids)
		return err
	}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return fired
}

// Telemetry of real attacks matches exactly the rules that an independent
// evaluator finds.
func TestExpectedHits(t *testing.T) {
	dir := filepath.Join(testenv.ExternalDataDir(t), "otrf")
	d := sigmaHQ(t).NewDetector()
	want := make(map[string]bool)
	for _, name := range []string{"expected.tsv", "expected-added.tsv"} { // the second with Provider_Name and IntegrityLevel
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			want[s.Text()] = true
		}
	}
	got := make(map[string]bool)
	files, _ := filepath.Glob(filepath.Join(dir, "*.json.gz"))
	for _, file := range files {
		for i, ids := range detectFile(t, d, file) {
			for _, id := range ids {
				got[fmt.Sprintf("%s\t%d\t%s", filepath.Base(file), i+1, id)] = true
			}
		}
	}
	for hit := range want {
		if !got[hit] {
			t.Errorf("missing: %s", hit)
		}
	}
	for hit := range got {
		if !want[hit] && !explained[strings.Split(hit, "\t")[2]] {
			t.Errorf("not expected: %s", hit)
		}
	}
	t.Logf("%d hits", len(got))
}

// explained are rules that fire beyond the expected hits, each with the cause:
// a field mapping that goes further than the list's.
var explained = map[string]bool{}

// The regression cases of the Sigma project fire exactly the rules listed,
// event by event, from the JSON and from the log that it was made of.
func TestRegressionCases(t *testing.T) {
	dir := filepath.Join(testenv.ExternalDataDir(t), "regression")
	d := sigmaHQ(t).NewDetector()
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest []struct {
		Case  string
		Fired [][]string `json:"ref_fired"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest {
		for i := range m.Fired {
			slices.Sort(m.Fired[i])
		}
		if diff := cmp.Diff(m.Fired, detectFile(t, d, filepath.Join(dir, m.Case))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", m.Case, diff)
		}
		log := strings.TrimSuffix(m.Case, ".json") + ".evtx"
		if _, err := os.Stat(filepath.Join(dir, log)); err != nil {
			continue
		}
		if diff := cmp.Diff(m.Fired, detectFile(t, d, filepath.Join(dir, log))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", log, diff)
		}
	}
	t.Logf("%d cases", len(manifest))
}

func BenchmarkDetect(b *testing.B) {
	files, _ := filepath.Glob(filepath.Join(testenv.ExternalDataDir(b), "otrf", "*.json.gz"))
	d := sigmaHQ(b).NewDetector()
	var events []picket.Event
	size := 0
	for _, file := range files {
		if err := scan.ReadFiles(b.Context(), []string{file}, new(scan.Progress), func(_ string, raw []byte) error {
			events = append(events, picket.Event{ID: "x", Raw: raw})
			size += len(raw)
			return nil
		}, func(error) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for i := 0; i < len(events); i += 500 {
			if _, err := d.Detect(events[i:min(i+500, len(events))]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
}
