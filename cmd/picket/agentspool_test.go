package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// Events that picket itself refuses stay in the agent's spool, are listed with the cause,
// and are sent again, beside the running agent.
func TestAgentSpoolCommands(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 0)
	var text strings.Builder
	for i := range 21 {
		at := "2024-01-01T00:00:00Z"
		if i == 20 {
			at = "2034-01-01T00:00:00Z" // the agent waits for it
		} else {
			f.sent[fmt.Sprintf("e%d", i)] = false
		}
		fmt.Fprintln(&text, strings.Replace(eventJSON(fmt.Sprintf("e%d", i), "h", "ls -l"), "{", `{"@timestamp":"`+at+`",`, 1))
	}
	testenv.Check(t, os.WriteFile(f.file, []byte(text.String()), 0o600))
	f.cluster.server.kill()
	f.cluster.args = []string{"--max-body", "40"} // each event is too large
	f.cluster.startServer()
	agent := f.startAgent("--replay-speed", "1")
	testenv.Until(t, "all events are given up", func() bool {
		return strings.Count(agent.stderr.String(), "server refused events") == 20
	})

	second := f.startAgent()
	<-second.exited
	if log := second.stderr.String(); second.err == nil || !strings.Contains(log, "another agent uses it: process "+strconv.Itoa(agent.cmd.Process.Pid)) || strings.Count(log, "\n") != 2 {
		t.Errorf("second agent: %v, %s", second.err, log)
	}

	spool := func(args ...string) string {
		cmd := exec.Command("picket", append(append([]string{"agent", "spool"}, args...), "--spool", ".")...)
		cmd.Dir = f.spool
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("picket agent spool %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	if list := spool("list"); strings.Count(list, "events 1\n") != 20 || strings.Count(list, "413 Request Entity Too Large (application/json)") != 20 {
		t.Errorf("list: %s", list)
	}
	var row struct {
		ID      int64
		Events  int
		Cause   string
		Content []map[string]any
	}
	testenv.Check(t, json.NewDecoder(strings.NewReader(spool("list", "--json"))).Decode(&row))
	if row.ID == 0 || row.Events != 1 || row.Cause == "" || len(row.Content) != 1 || row.Content[0]["event_id"] != "e19" {
		t.Errorf("row %+v", row)
	}

	f.cluster.server.kill()
	f.cluster.args = nil
	f.cluster.startServer()
	delete(f.sent, "e19")
	if out := spool("purge", fmt.Sprint(row.ID)) + spool("requeue", "--all"); out != "1 deleted\n19 requeued\n" {
		t.Errorf("%q", out)
	}
	testenv.Until(t, "the events are received", func() bool {
		v, _ := metric(f.get("/metrics"), `picket_events_total{outcome="stored"}`)
		return v == "19"
	})
	f.check()
	if list := spool("list"); list != "" {
		t.Errorf("list: %s", list)
	}
	testenv.Check(t, agent.stop())
}
