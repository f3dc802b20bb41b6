package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// A damaged spool does not keep the agent from starting: it uploads what can be read, and
// reports to the server what is lost.
func TestAgentDamagedSpool(t *testing.T) {
	t.Parallel()
	const events, batch = 5000, 500
	overwrite := func(b []byte, at int) []byte {
		for i := range 64 {
			b[at+i] ^= byte(i*7 + 1)
		}
		return b
	}
	for name, damage := range map[string]struct {
		file   string
		change func([]byte) []byte
		most   int // batches that may be lost
		// stopped is set if the agent was stopped, so that all of the spool is in the file.
		stopped bool
	}{
		"half of the log":             {file: "spool.db-wal", change: func(b []byte) []byte { return b[:len(b)/2] }, most: 7},
		"no log":                      {file: "spool.db-wal", change: func([]byte) []byte { return nil }, most: 10},
		"the header of the log":       {file: "spool.db-wal", change: func(b []byte) []byte { return overwrite(b, 0) }, most: 1},
		"the middle of the log":       {file: "spool.db-wal", change: func(b []byte) []byte { return overwrite(b, len(b)/2) }, most: 1},
		"half of a closed file":       {file: "spool.db", change: func(b []byte) []byte { return b[:len(b)/2] }, most: 9, stopped: true},
		"the middle of a closed file": {file: "spool.db", change: func(b []byte) []byte { return overwrite(b, len(b)/2) }, most: 1, stopped: true},
		"the header of a closed file": {file: "spool.db", change: func(b []byte) []byte { return overwrite(b, 0) }, most: 0, stopped: true},
		"the header of the file":      {file: "spool.db", change: func(b []byte) []byte { return overwrite(b, 0) }, most: 0},
		"an empty file":               {file: "spool.db", change: func([]byte) []byte { return nil }, most: 0},
		"text in place of the file":   {file: "spool.db", change: func([]byte) []byte { return []byte(strings.Repeat("no database", 10_000)) }, most: 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAgentFixture(t, events)
			f.cluster.server.kill()
			p := f.startAgent()
			testenv.Until(t, "the source has ended", func() bool { return strings.Contains(p.stderr.String(), "source ended") })
			if damage.stopped {
				testenv.Check(t, p.stop())
			} else {
				p.kill()
			}
			testenv.Check(t, os.Truncate(f.file, 0))
			path := filepath.Join(f.spool, damage.file)
			content, err := os.ReadFile(path)
			testenv.Check(t, err)
			testenv.Check(t, os.WriteFile(path, damage.change(content), 0o600))

			f.cluster.startServer()
			p = f.startAgent()
			f.waitForExit(p)
			log := p.stderr.String()
			kept, err := filepath.Glob(filepath.Join(f.spool, "spool.db.damaged-*"))
			testenv.Check(t, err)
			m := regexp.MustCompile(`level=ERROR msg="spool damaged; what could be read is in a new one".* lost_events=(\S+)`).FindStringSubmatch(log)
			if m == nil { // the log has all that the damaged part of the file has
				m = []string{"", "0"}
			} else if strings.Count(log, "level=ERROR") != 1 || len(kept) == 0 {
				t.Errorf("kept %v, log: %s", kept, log)
			}
			f.waitUntilEmpty()
			reports, stored := 0, 0
			f.getAll("/api/v1/events?", "events", func(row map[string]any) {
				id, _ := row["event_id"].(string)
				if row["event_type"] == "agent_spool_damaged" {
					reports++
				} else if _, sent := f.sent[id]; sent {
					stored++
				} else {
					t.Errorf("event %v was never sent", row)
				}
			})
			lost, err := strconv.Atoi(m[1])
			if err != nil { // unknown
				lost = events - stored
			}
			t.Logf("%d events stored, %s lost", stored, m[1])
			if stored+lost != events || stored < events-damage.most*batch || (reports == 1) != (m[1] != "0") {
				t.Errorf("%d events stored, %s lost, %d reports", stored, m[1], reports)
			}
		})
	}
}
