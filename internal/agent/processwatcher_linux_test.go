package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/testenv"
)

// seen is the part of a process event that the tests check.
type seen struct {
	AgentID   string  `json:"agent_id"`
	EventID   string  `json:"event_id"`
	EventType string  `json:"event_type"`
	Timestamp float64 `json:"timestamp"`
	Host      struct{ Hostname, OS string }
	Process   struct {
		Name              string
		PID               int
		CommandLine       string `json:"command_line"`
		User              string
		ParentImage       string `json:"parent_image"`
		ParentPID         int    `json:"parent_pid"`
		ParentCommandLine string `json:"parent_command_line"`
		WorkingDirectory  string `json:"working_directory"`
		Action            string
		ExitCode          *int `json:"exit_code"`
	}
}

// watchFor runs a program repeatedly, because a poll may miss it, until the source
// yields both its start and its end.
func watchFor(t *testing.T, src *agent.ProcessSource, lives time.Duration) (started, ended seen) {
	t.Helper()
	sleepPath, err := exec.LookPath("sleep")
	testenv.Check(t, err)
	// A copy has a path that no other process runs.
	program := filepath.Join(t.TempDir(), "sleeper")
	b, err := os.ReadFile(sleepPath)
	testenv.Check(t, err)
	testenv.Check(t, os.WriteFile(program, b, 0o700))
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			exec.Command(program, fmt.Sprint(lives.Seconds()), "0").Run()
		}
	}()
	for event, err := range src.Events(ctx, "") {
		testenv.Check(t, err)
		var e seen
		testenv.Check(t, json.Unmarshal(event.Data, &e))
		if e.Process.Name != program {
			continue
		}
		switch e.Process.Action {
		case "created":
			started = e
		case "terminated":
			if e.Process.PID == started.Process.PID {
				return started, e
			}
		}
	}
	t.Fatal("the process was not seen")
	return
}

func wantProcess(t *testing.T, started, ended seen) {
	t.Helper()
	exe, err := os.Executable()
	testenv.Check(t, err)
	dir, err := os.Getwd()
	testenv.Check(t, err)
	host, err := os.Hostname()
	testenv.Check(t, err)
	p := started.Process
	if p.ParentPID != os.Getpid() || p.ParentImage != exe || p.ParentCommandLine == "" || p.WorkingDirectory != dir ||
		p.CommandLine == "" || p.User == "" {
		t.Errorf("started: %+v", started)
	}
	if started.AgentID != "me" || started.EventType != "process" || started.Host.Hostname != host || started.Host.OS != "Linux" {
		t.Errorf("started: %+v", started)
	}
	if started.EventID == ended.EventID || len(started.EventID) != 32 || ended.Timestamp < started.Timestamp {
		t.Errorf("started %+v, ended %+v", started, ended)
	}
}

func TestProcessConnector(t *testing.T) {
	var reported string
	src := &agent.ProcessSource{AgentID: "me", Report: func(message, _ string) { reported = message }}
	started, ended := watchFor(t, src, 100*time.Millisecond)
	wantProcess(t, started, ended)
	if reported != "" {
		t.Skipf("SKIPPED, only /proc was tested: %s", reported)
	}
	if ended.Process.ExitCode == nil || *ended.Process.ExitCode != 0 {
		t.Errorf("ended: %+v", ended)
	}
}

// The process connector reports even processes that end at once.
func TestShortLivedProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	reported := make(chan string, 1)
	src := &agent.ProcessSource{Report: func(message, _ string) {
		select {
		case reported <- message:
		default:
		}
		cancel()
	}}
	go func() {
		for ctx.Err() == nil {
			exec.Command("/bin/false").Run()
		}
	}()
	for event, err := range src.Events(ctx, "") {
		testenv.Check(t, err)
		var e seen
		testenv.Check(t, json.Unmarshal(event.Data, &e))
		if filepath.Base(e.Process.Name) == "false" && e.Process.Action == "terminated" {
			if e.Process.ExitCode == nil || *e.Process.ExitCode != 1 {
				t.Errorf("ended: %+v", e)
			}
			return
		}
	}
	select {
	case message := <-reported:
		t.Skipf("SKIPPED: %s", message)
	default:
		t.Fatal("the process was not seen")
	}
}

func TestProcessPoll(t *testing.T) {
	started, ended := watchFor(t, &agent.ProcessSource{AgentID: "me", PollOnly: true}, time.Second)
	wantProcess(t, started, ended)
}
