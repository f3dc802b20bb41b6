package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// An agentFixture is a server and what an agent needs beside it: a token, a file
// of events to replay and a spool.
type agentFixture struct {
	*loadTest
	cluster *testCluster
	token   string
	file    string
	spool   string
}

func newAgentFixture(t *testing.T, events int) *agentFixture {
	c := newTestCluster(t)
	c.startServer()
	f := &agentFixture{cluster: c, token: c.createToken("--agent", "h"), file: filepath.Join(t.TempDir(), "events.ndjson"), spool: t.TempDir()}
	f.loadTest = &loadTest{t: t, http: http.DefaultClient, url: c.url(), apiToken: c.createToken("--api", "test", "--role", "viewer"), sent: make(map[string]bool)}
	var text strings.Builder
	for i := range events {
		id, command := fmt.Sprintf("e%d", i), "ls -l"
		if i%50 == 0 {
			command = firstAlertCommand
		}
		f.sent[id] = command == firstAlertCommand
		fmt.Fprintln(&text, eventJSON(id, "h", command))
	}
	if err := os.WriteFile(f.file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// startAgent starts the agent.
func (f *agentFixture) startAgent(args ...string) *process {
	f.t.Helper()
	args = append([]string{"agent", "--server", f.url, "--token", f.token, "--source", "replay=" + f.file, "--spool", "."}, args...)
	p, _, err := startProcess(f.spool, nil, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		p.kill()
		if f.t.Failed() {
			f.t.Logf("the agent's log: %s", p.stderr.String())
		}
	})
	return p
}

// waitForExit waits until an agent has posted everything and exited with
// status 0.
func (f *agentFixture) waitForExit(p *process) {
	f.t.Helper()
	testenv.Until(f.t, "the agent exits", func() bool {
		select {
		case <-p.exited:
			return true
		default:
			return false
		}
	})
	if p.err != nil {
		f.t.Fatalf("agent exited with %v: %s", p.err, p.stderr.String())
	}
}

// However often the agent and the server are killed, every event is stored once.
func TestKillAgent(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 20_000)
	for n := range rounds(t, 6) {
		before, _ := metric(f.get("/metrics"), `picket_events_total{outcome="received"}`)
		p := f.startAgent()
		testenv.Until(t, "more events received", func() bool {
			v, _ := metric(f.get("/metrics"), `picket_events_total{outcome="received"}`)
			return v != before
		})
		randomDelay()
		if n%2 == 0 {
			f.cluster.server.kill()
			randomDelay()
			p.kill()
			f.cluster.startServer()
		} else {
			p.kill()
		}
	}
	f.waitForExit(f.startAgent())
	f.check()
}

// An agent that is killed continues after the last event that it spooled: the
// server receives no event twice.
func TestKilledAgentContinues(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 0)
	var text strings.Builder
	write := func(first, last int, at string) {
		for i := first; i < last; i++ {
			id := fmt.Sprintf("e%d", i)
			f.sent[id] = false
			fmt.Fprintln(&text, strings.Replace(eventJSON(id, "h", "ls -l"), "{", `{"@timestamp":"`+at+`",`, 1))
		}
	}
	// At replay speed 1 the second half is due a year later.
	write(0, 500, "2024-01-01T00:00:00Z")
	write(500, 1000, "2025-01-01T00:00:00Z")
	testenv.Check(t, os.WriteFile(f.file, []byte(text.String()), 0o600))
	// Without a server nothing is posted by the agent that is killed: a batch whose
	// acknowledgement it did not receive would rightly be sent again.
	f.cluster.server.kill()
	p := f.startAgent("--replay-speed", "1")
	testenv.Until(t, "the first half is spooled", func() bool {
		b, err := os.ReadFile(filepath.Join(f.spool, "checkpoints.json"))
		return err == nil && strings.Contains(string(b), `\"event\":500}`)
	})
	p.kill()
	f.cluster.startServer()
	f.waitForExit(f.startAgent())
	f.check()
	if n, _ := metric(f.get("/metrics"), `picket_events_total{outcome="duplicate"}`); n != "0" {
		t.Errorf("%s events were sent twice", n)
	}
}

// Events that an agent spooled while the server was down survive kill -9 of the
// agent, also during uploads, and the loss of the file that they came from.
func TestSpoolSurvivesKill(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 10_000)
	f.cluster.server.kill()
	p := f.startAgent()
	testenv.Until(t, "the source has ended", func() bool { return strings.Contains(p.stderr.String(), "source ended") })
	p.kill()
	if err := os.Truncate(f.file, 0); err != nil {
		t.Fatal(err)
	}
	f.cluster.startServer()
	for range rounds(t, 3) {
		before, _ := metric(f.get("/metrics"), `picket_events_total{outcome="received"}`)
		p := f.startAgent()
		testenv.Until(t, "more events received", func() bool {
			select {
			case <-p.exited: // everything has been posted
				return true
			default:
			}
			v, _ := metric(f.get("/metrics"), `picket_events_total{outcome="received"}`)
			return v != before
		})
		p.kill()
	}
	f.waitForExit(f.startAgent())
	f.check()
}

// An agent whose token is rejected keeps its events, logs the cause, and posts
// them once it has a valid token.
func TestAgentTokenRejected(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 100)
	valid := f.token
	f.token = "wrong"
	p := f.startAgent()
	testenv.Until(t, "the agent logs the cause, and has spooled the events", func() bool {
		return strings.Contains(p.stderr.String(), "picket token create") && strings.Contains(p.stderr.String(), "source ended")
	})
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.file, 0); err != nil {
		t.Fatal(err)
	}
	f.token = valid
	f.waitForExit(f.startAgent())
	f.check()
	if resp, err := http.Get(f.url + "/readyz"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("server is not ready: %v %v", resp, err)
	}
}
