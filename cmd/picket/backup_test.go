package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// Backups are made under load. On a server that runs on a restored one, every event
// that was acknowledged before the backup is stored once, with its matches, and every
// dead letter is there.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"working": {"--workers", "2"}, "waiting": {"--workers", "0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTestCluster(t, args...)
			c.startServer()
			l := startLoad(c, loadOptions{})
			c.run("rules", "add", writePack(t), "--data", ".", "--name", "mine")
			type taken struct {
				file               string
				accepted, rejected []string
			}
			var backups []taken
			for n := range rounds(t, 3) {
				l.waitForBatches(20)
				b := taken{file: filepath.Join(t.TempDir(), fmt.Sprintf("%d.zst", n))}
				l.mu.Lock()
				b.accepted, b.rejected = slices.Clone(l.accepted), slices.Clone(l.rejected)
				l.mu.Unlock()
				c.run("backup", b.file, "--data", ".")
				backups = append(backups, b)
			}
			l.waitForBatches(10)
			l.stop()
			for _, b := range backups {
				// The original still runs: what its workers lease is not leased in the copy.
				copied := restoredServer(t, c, l, b.file)
				copied.checkHas(b.accepted, b.rejected)
				if out := copied.run("rules", "list", "--data", ".", "--json"); !strings.Contains(out, packRule) {
					t.Error("the rule pack is not there")
				}
			}
		})
	}
}

// packRule is the id of the rule that writePack writes.
const packRule = "11111111-0000-4000-8000-000000000001"

// writePack writes a rule pack to a new directory.
func writePack(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	testenv.Check(t, os.WriteFile(filepath.Join(dir, "r.yml"), []byte("title: Mine\nid: "+packRule+
		"\nlogsource: {product: linux, category: process_creation}\ndetection: {a: {CommandLine|contains: something}, condition: a}\nlevel: low\n"), 0o600))
	return dir
}

// A restoredCluster is a server on a restored data directory, and a client of it.
type restoredCluster struct {
	*testCluster
	l *loadTest
}

// restoredServer restores an archive into a new directory and starts a server on it.
func restoredServer(t *testing.T, original *testCluster, l *loadTest, archive string) restoredCluster {
	t.Helper()
	c := newTestCluster(t)
	c.data = filepath.Join(t.TempDir(), "data")
	cmd := exec.Command("picket", "restore", archive, "--data", c.data)
	cmd.Env = append(os.Environ(), original.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("restore: %v: %s", err, out)
	}
	c.startServer()
	return restoredCluster{c, &loadTest{t: t, http: l.http, url: c.url(), token: l.token, apiToken: l.apiToken, sent: l.sent}}
}

// checkHas waits until the queue is empty, and checks that the events are stored once
// with their matches, that the rejected ones are dead letters, and that the counters
// add up.
func (c restoredCluster) checkHas(accepted, rejected []string) {
	l := c.l
	l.t.Helper()
	l.waitUntilEmpty()
	stored := make(map[string]int)
	l.getAll("/api/v1/events?", "events", func(row map[string]any) { stored[row["event_id"].(string)]++ })
	matched := make(map[string]int)
	l.getAll("/api/v1/matches?rule_id="+firstAlertRule+"&", "matches", func(row map[string]any) { matched[row["event_id"].(string)]++ })
	dead := make(map[string]int)
	l.getAll("/api/v1/queue/dead?", "dead", func(row map[string]any) { dead[row["event_id"].(string)]++ })
	for _, id := range accepted {
		if stored[id] == 0 {
			l.t.Errorf("event %s was acknowledged before the backup and is not stored", id)
		}
	}
	for id, n := range stored {
		if want := map[bool]int{true: 1}[l.sent[id]]; n != 1 || matched[id] != want {
			l.t.Errorf("event %s is stored %d times with %d matches, want %d", id, n, matched[id], want)
		}
	}
	for _, id := range rejected {
		if dead[id] != 1 {
			l.t.Errorf("%d dead letters of %s", dead[id], id)
		}
	}
	l.t.Logf("%d events acknowledged before, %d stored, %d dead letters", len(accepted), len(stored), len(dead))
	text, sum := l.get("/metrics"), 0
	for outcome, sign := range map[string]int{"received": -1, "stored": 1, "duplicate": 1, "rejected": 1, "dead": 1} {
		v, _ := metric(text, `picket_events_total{outcome="`+outcome+`"}`)
		var n int
		if _, err := fmt.Sscan(v, &n); err != nil {
			l.t.Fatalf("counter %s is %q", outcome, v)
		}
		sum += sign * n
	}
	if sum != 0 {
		l.t.Errorf("received is not stored + duplicate + rejected + dead, but %d less", sum)
	}
}
