package rulecoverage_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/rulecoverage"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
)

// Names of fields that no rule has do not fill the memory, however many and long they are.
func TestHostileFieldNames(t *testing.T) {
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{})
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, s.Close()) })
	now := time.Now().UTC().Truncate(time.Microsecond)
	for n := range 40 {
		var names strings.Builder
		for i := range 6000 {
			fmt.Fprintf(&names, `"%d-%d":1,`, n, i)
		}
		raw := fmt.Sprintf(`{"event_type":"process_creation","host":{"os":"Linux"},%s"%s":1}`, names.String(), strings.Repeat("k", 300))
		if n == 0 { // the oldest, which is read last
			raw = strings.TrimSuffix(raw, "}") + `,"Image":"/bin/ls"}`
		}
		ev := picket.Event{ID: fmt.Sprint(n), AgentID: "a", Host: "h", Type: "process_creation", OS: "linux", Time: now, Received: now, Raw: []byte(raw)}
		_, err := s.Save(t.Context(), store.Batch{ID: fmt.Sprint(n), Events: []picket.Event{ev}})
		testenv.Check(t, err)
	}
	rule := func(field string) string {
		return "title: " + field + "\nid: " + field + "\nlogsource: {category: process_creation}\ndetection: {s: {" + field + ": x}, condition: s}\n"
	}
	set, err := ruleset.Load([]ruleset.Source{{Name: "test", FS: fstest.MapFS{"a.yml": {Data: []byte(rule("Image") + "---\n" + rule("Missing"))}}}}, nil)
	testenv.Check(t, err)
	report, err := rulecoverage.Measure(t.Context(), s, &set, now.Add(-time.Hour))
	testenv.Check(t, err)
	fields := 0
	for _, source := range report.Sources {
		fields += source.Fields
	}
	if report.Sampled != 40 || fields > 100_000+2 { // and those of the rules
		t.Errorf("%d events, %d names are kept", report.Sampled, fields)
	}
	if len(report.Rules) != 2 || !report.Rules[0].CanFire || report.Rules[1].CanFire {
		t.Errorf("rules: %+v", report.Rules)
	}
}
