package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// However often the agent is killed and the logs are rotated, each line is stored once.
func TestKillAgentFollowingLogs(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 0)
	dir := t.TempDir()
	logs := []string{filepath.Join(dir, "renamed.log"), filepath.Join(dir, "truncated.log")}
	written := 0
	write := func(log string, lines int) {
		t.Helper()
		file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		testenv.Check(t, err)
		defer file.Close()
		for range lines {
			written++
			fmt.Fprintf(file, "Jan  2 03:04:05 h app[1]: line %d\n", written)
		}
	}
	for _, log := range logs {
		write(log, 100) // before the agent has seen the logs
	}
	written = 0
	checkpoints := filepath.Join(f.spool, "checkpoints.json")
	startAgent := func() *process {
		t.Helper()
		p, _, err := startProcess(f.spool, nil, "agent", "--server", f.url, "--token", f.token, "--source", "file="+filepath.Join(dir, "*.log"), "--spool", ".")
		testenv.Check(t, err)
		t.Cleanup(p.kill)
		return p
	}
	p := startAgent()
	testenv.Until(t, "the agent has seen the logs", func() bool {
		_, err := os.Stat(checkpoints)
		return err == nil
	})
	for n := range rounds(t, 6) {
		if n > 0 {
			p = startAgent()
		}
		for _, log := range logs {
			write(log, 700)
		}
		randomDelay()
		if n%2 == 0 {
			testenv.Check(t, os.Rename(logs[0], fmt.Sprintf("%s-202601%02d", logs[0], n+1)))
			content, err := os.ReadFile(logs[1])
			testenv.Check(t, err)
			testenv.Check(t, os.WriteFile(fmt.Sprintf("%s-202601%02d", logs[1], n+1), content, 0o600))
			testenv.Check(t, os.Truncate(logs[1], 0))
		}
		for _, log := range logs {
			write(log, 30)
		}
		randomDelay()
		p.kill()
		write(logs[0], 10)
	}
	p = startAgent()
	testenv.Until(t, "all lines are stored", func() bool {
		v, _ := metric(f.get("/metrics"), `picket_events_total{outcome="stored"}`)
		n := 0
		fmt.Sscan(v, &n)
		return n >= written
	})
	testenv.Check(t, p.stop())
	f.waitUntilEmpty()
	stored := map[string]int{}
	f.getAll("/api/v1/events?", "events", func(row map[string]any) {
		event, _ := row["event"].(map[string]any)
		_, line, _ := strings.Cut(fmt.Sprint(event["message"]), ": ")
		stored[line]++
	})
	for n := 1; n <= written; n++ {
		if times := stored[fmt.Sprint("line ", n)]; times != 1 {
			t.Errorf("line %d of %d is stored %d times", n, written, times)
		}
	}
	if len(stored) != written {
		t.Errorf("%d lines are stored, %d were written", len(stored), written)
	}
	if v, _ := metric(f.get("/metrics"), "picket_events_conflicting_total"); v != "0" {
		t.Errorf("%s events have the id of another line", v)
	}
	if t.Failed() {
		b, _ := os.ReadFile(checkpoints)
		t.Logf("checkpoints: %s", b)
	}
}
