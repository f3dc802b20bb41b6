package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// Events that each make an alert or a host of their own take at most twice their bytes on
// disk, and what the quotas of an agent allow in a minute.
func TestFloodDisk(t *testing.T) {
	const quota = 8 << 20
	long := strings.Repeat("name ", 20_000)
	for name, flood := range map[string]struct {
		events int
		raw    func(i int) string
	}{
		"long rule names": {200, func(i int) string {
			return fmt.Sprintf(`{"rule":"%d %s","priority":"Error","output_fields":{"a":1},"tags":["%s"]}`, i, long, long)
		}},
		"rule names": {30_000, func(i int) string {
			return fmt.Sprintf(`{"rule":"rule %x","priority":"Error","output_fields":{"a":1}}`, i*7919)
		}},
		"hosts with alerts": {30_000, func(i int) string {
			return fmt.Sprintf(`{"rule":"r","priority":"Error","output_fields":{"a":1},"hostname":"host-%x"}`, i*7919)
		}},
		"matches": {150_000, func(i int) string {
			return fmt.Sprintf(`{"rule":"r%d","priority":"Error","output_fields":{"a":%d}}`, i%100, i*7919)
		}},
		"hosts": {30_000, func(i int) string { return fmt.Sprintf(`{"a":1,"hostname":"host-%x"}`, i*7919) }},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.db")
			now := time.Now().UTC().Truncate(time.Microsecond)
			s, err := sqlitestore.Open(path, sqlitestore.Options{Now: func() time.Time { return now }})
			testenv.Check(t, err)
			rules, _ := sigma.Compile(ast.Collection{}, sigma.Options{})
			d := detect.NewEngine(rules, nil).NewDetector()
			bytes := 0
			for from := 0; from < flood.events; from += 1000 {
				var evs []picket.Event
				for i := from; i < min(from+1000, flood.events); i++ {
					ev := picket.Event{ID: fmt.Sprint("e", i), Sender: "agent:a", AgentID: "a", Host: "h", Type: "falco", Time: now, Received: now, Raw: []byte(flood.raw(i))}
					if _, host, ok := strings.Cut(flood.raw(i), `hostname":"`); ok {
						ev.Host = strings.TrimSuffix(host, `"}`)
					}
					bytes += len(ev.Raw)
					evs = append(evs, ev)
				}
				matches, err := d.Detect(evs)
				testenv.Check(t, err)
				_, err = s.Save(t.Context(), store.Batch{ID: fmt.Sprint("b", from), Events: evs, Matches: matches})
				testenv.Check(t, err)
			}
			testenv.Check(t, s.Close())
			f, err := os.Stat(path)
			testenv.Check(t, err)
			if f.Size() > int64(2*bytes+quota) {
				t.Errorf("%d bytes became %d on disk", bytes, f.Size())
			}
		})
	}
}
