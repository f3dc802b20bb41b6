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
		InvokedAs         string `json:"invoked_as"`
		ParentInvokedAs   string `json:"parent_invoked_as"`
		Comm              string
		Args              []string
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
	program := copyProgram(t, "sleep", "sleeper")
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			exec.Command(program, fmt.Sprint(lives.Seconds()), "0").Run()
		}
	}()
	for event, err := range src.Events(ctx, "") {
		testenv.Check(t, err)
		if event.Data == nil {
			continue // a position
		}
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
		if event.Data == nil {
			continue // a position
		}
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

// A process is reported once, also by agents that continue where another stopped; and no
// two events have the same id.
func TestProcessPosition(t *testing.T) {
	program := copyProgram(t, "sh", "waiter")
	for _, pollOnly := range []bool{false, true} {
		startAndWait(t, program, program)
		ids := map[string]bool{}
		var position agent.Position
		for restart, want := range []int{1, 0, 1} {
			if restart == 2 {
				startAndWait(t, program, program) // while no agent runs
			}
			src, reports := &agent.ProcessSource{PollOnly: pollOnly}, 0
			ctx, cancel := context.WithCancel(t.Context())
			for event, err := range src.Events(ctx, position) {
				testenv.Check(t, err)
				if event.Data == nil {
					position = event.Position
					cancel() // the running processes have been reported
					continue
				}
				var e seen
				testenv.Check(t, json.Unmarshal(event.Data, &e))
				if ids[e.EventID] {
					t.Errorf("event twice: %s", event.Data)
				}
				ids[e.EventID] = true
				if e.Process.Name == program && e.Process.Action == "created" {
					reports++
				}
			}
			cancel()
			if reports != want {
				t.Errorf("poll only %t: agent %d reports %d processes, want %d", pollOnly, restart, reports, want)
			}
		}
		program = copyProgram(t, "sh", "waiter")
	}
}

// copyProgram copies a program into a new directory, so that no other process runs it.
func copyProgram(t *testing.T, name, as string) (file string) {
	t.Helper()
	from, err := exec.LookPath(name)
	testenv.Check(t, err)
	b, err := os.ReadFile(from)
	testenv.Check(t, err)
	file = filepath.Join(t.TempDir(), as)
	testenv.Check(t, os.WriteFile(file, b, 0o700))
	return file
}

// startAndWait starts a shell that waits until the test ends.
func startAndWait(t *testing.T, file string, args ...string) {
	t.Helper()
	cmd := &exec.Cmd{Path: file, Args: args}
	_, err := cmd.StdinPipe() // the shell reads from it
	testenv.Check(t, err)
	testenv.Check(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// An event names the path that was asked for, if a symbolic link or a script leads to the
// executable, and the arguments if the command line does not tell them apart.
func TestInvokedAs(t *testing.T) {
	shell := copyProgram(t, "sh", "shell")
	link, script := filepath.Join(filepath.Dir(shell), "asked-for"), filepath.Join(t.TempDir(), "script")
	testenv.Check(t, os.Symlink("shell", link))
	testenv.Check(t, os.WriteFile(script, []byte("#!"+link+"\nread line\n"), 0o700))

	startAndWait(t, shell, shell, "-c", "read line; : itself")
	startAndWait(t, link, link, "-c", "read line; : link")
	startAndWait(t, link, "asked-for", "-c", "read line; : name")
	startAndWait(t, link, "sshd", "-c", "read line; : faked")
	startAndWait(t, shell, "asked-not", "-c", `: "quoted words"; read line`)
	startAndWait(t, link, link, "-c", shell+" -c 'read line; : child'; :")
	startAndWait(t, script, script)

	type names struct{ InvokedAs, ParentInvokedAs, Comm, Args string }
	want := map[string]names{
		shell + ` -c "read line; : itself"`:        {},
		link + ` -c "read line; : link"`:           {InvokedAs: link},
		`asked-for -c "read line; : name"`:         {InvokedAs: link},
		`sshd -c "read line; : faked"`:             {InvokedAs: link},
		`asked-not -c : "quoted words"; read line`: {Args: `["asked-not" "-c" ": \"quoted words\"; read line"]`},
		shell + ` -c "read line; : child"`:         {ParentInvokedAs: link},
		link + " " + script:                        {InvokedAs: link, Comm: "script"},
	}
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	for event, err := range (&agent.ProcessSource{}).Events(ctx, "") {
		testenv.Check(t, err)
		if event.Data == nil {
			continue // a position
		}
		var e seen
		testenv.Check(t, json.Unmarshal(event.Data, &e))
		p := e.Process
		expected, ok := want[p.CommandLine]
		if !ok || p.Action != "created" {
			continue
		}
		got := names{p.InvokedAs, p.ParentInvokedAs, p.Comm, ""}
		if p.Args != nil {
			got.Args = fmt.Sprintf("%q", p.Args)
		}
		if got != expected || p.Name != shell {
			t.Errorf("%s: %s, %+v, want %+v", p.CommandLine, p.Name, got, expected)
		}
		if delete(want, p.CommandLine); len(want) == 0 {
			return
		}
	}
	t.Errorf("not seen: %v", want)
}
