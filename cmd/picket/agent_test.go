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

// An agentFixture is an agent beside a server that comes and goes.
type agentFixture struct {
	*loadTest
	fleet *testCluster
	token string
	file  string // of the events that it replays
	spool string
}

func newAgentFixture(t *testing.T, events int) *agentFixture {
	f := newTestCluster(t)
	f.startServer()
	r := &agentFixture{fleet: f, token: f.token("--agent", "h"), file: filepath.Join(t.TempDir(), "events.ndjson"), spool: t.TempDir()}
	r.loadTest = &loadTest{t: t, http: http.DefaultClient, url: f.url(), api: f.token("--api", "test", "--role", "viewer"), sent: make(map[string]bool)}
	var text strings.Builder
	for i := range events {
		id, command := fmt.Sprintf("e%d", i), "ls -l"
		if i%50 == 0 {
			command = fires
		}
		r.sent[id] = command == fires
		fmt.Fprintln(&text, eventJSON(id, "h", command))
	}
	if err := os.WriteFile(r.file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// startAgent starts the agent.
func (r *agentFixture) startAgent(args ...string) *process {
	r.t.Helper()
	args = append([]string{"agent", "--server", r.url, "--token", r.token, "--source", "replay=" + r.file, "--spool", "."}, args...)
	p, _, err := start(r.spool, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.kill)
	return p
}

// waitForExit waits for an agent that ends by itself, its spool empty.
func (r *agentFixture) waitForExit(p *process) {
	r.t.Helper()
	testenv.Until(r.t, "the agent is done", func() bool {
		select {
		case <-p.end:
			return true
		default:
			return false
		}
	})
	if p.res != nil {
		r.t.Fatalf("the agent ended with %v: %s", p.res, p.err.String())
	}
}

// An agent that is killed while the server comes and goes starts over each
// time, and every event is there once.
func TestKillAgent(t *testing.T) {
	r := newAgentFixture(t, 20_000)
	for n := range rounds(6) {
		before, _ := metric(r.get("/metrics"), `picket_events_total{outcome="received"}`)
		p := r.startAgent()
		testenv.Until(t, "more events received", func() bool {
			v, _ := metric(r.get("/metrics"), `picket_events_total{outcome="received"}`)
			return v != before
		})
		randomDelay()
		if n%2 == 0 {
			r.fleet.server.kill()
			randomDelay()
			p.kill()
			r.fleet.startServer()
		} else {
			p.kill()
		}
	}
	r.waitForExit(r.startAgent())
	r.check()
}

// An agent that is killed continues after the last event that it spooled: the
// server receives no event twice.
func TestKilledAgentContinues(t *testing.T) {
	r := newAgentFixture(t, 0)
	var text strings.Builder
	write := func(first, last int, at string) {
		for i := first; i < last; i++ {
			id := fmt.Sprintf("e%d", i)
			r.sent[id] = false
			fmt.Fprintln(&text, strings.Replace(eventJSON(id, "h", "ls -l"), "{", `{"@timestamp":"`+at+`",`, 1))
		}
	}
	// At the pace of the events' own times, the second half is a year later.
	write(0, 500, "2024-01-01T00:00:00Z")
	write(500, 1000, "2025-01-01T00:00:00Z")
	testenv.Check(t, os.WriteFile(r.file, []byte(text.String()), 0o600))
	p := r.startAgent("--replay-speed", "1")
	testenv.Until(t, "the first half is spooled", func() bool {
		b, err := os.ReadFile(filepath.Join(r.spool, "checkpoints.json"))
		return err == nil && strings.Contains(string(b), `\"event\":500}`)
	})
	p.kill()
	r.waitForExit(r.startAgent())
	r.check()
	if n, _ := metric(r.get("/metrics"), `picket_events_total{outcome="duplicate"}`); n != "0" {
		t.Errorf("%s events were sent twice", n)
	}
}

// What an agent has spooled while the server is away outlives kill -9 of the
// agent, also in the middle of sending, and the file that it came from.
func TestSpoolOutlivesAgent(t *testing.T) {
	r := newAgentFixture(t, 10_000)
	r.fleet.server.kill()
	p := r.startAgent()
	testenv.Until(t, "the source has ended", func() bool { return strings.Contains(p.err.String(), "source ended") })
	p.kill()
	if err := os.Truncate(r.file, 0); err != nil {
		t.Fatal(err)
	}
	r.fleet.startServer()
	for range rounds(3) {
		before, _ := metric(r.get("/metrics"), `picket_events_total{outcome="received"}`)
		p := r.startAgent()
		testenv.Until(t, "more events received", func() bool {
			select {
			case <-p.end: // it was quicker
				return true
			default:
			}
			v, _ := metric(r.get("/metrics"), `picket_events_total{outcome="received"}`)
			return v != before
		})
		p.kill()
	}
	r.waitForExit(r.startAgent())
	r.check()
}

// An agent whose token is refused keeps what it has, says why, and sends it
// once the token is right.
func TestAgentRefused(t *testing.T) {
	r := newAgentFixture(t, 100)
	good := r.token
	r.token = "wrong"
	p := r.startAgent()
	testenv.Until(t, "the agent says why", func() bool { return strings.Contains(p.err.String(), "picket token create") })
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.file, 0); err != nil {
		t.Fatal(err)
	}
	r.token = good
	r.waitForExit(r.startAgent())
	r.check()
	if resp, err := http.Get(r.url + "/readyz"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the server is not ready: %v %v", resp, err)
	}
}
