//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// The queue is moved to Redis and back under load. The servers and the commands that
// move are killed. Every acknowledged event is stored once, and every rejected one is a
// dead letter once.
func TestMoveQueueUnderLoad(t *testing.T) { testMoveQueue(t, "") }

// The same with a Celery broker.
func TestMoveCeleryQueueUnderLoad(t *testing.T) { testMoveQueue(t, "celery+") }

func testMoveQueue(t *testing.T, protocol string) {
	t.Parallel()
	url := protocol + redistest.Start(t, redistest.DurableArgs...).URL() + "?lease=2s"
	c := newTestCluster(t, "--workers", "0")
	c.startServer()
	l := startLoad(c, loadOptions{})
	l.regroups = protocol != ""
	l.waitForBatches(60)
	c.server.kill()

	// The server moves the queue by itself.
	c.args = []string{"--workers", "0", "--queue", url}
	for range rounds(t, 4) {
		c.startServer()
		randomDelay()
		c.server.kill()
	}
	c.startServer()
	testenv.Until(t, "the queue moved", func() bool {
		var s queue.Stats
		testenv.Check(t, json.Unmarshal([]byte(c.run("queue", "stats", "--data", ".", "--json")), &s))
		s.MaxBytes, s.InRate, s.OutRate = 0, 0, 0
		return s == queue.Stats{}
	})
	l.waitForBatches(20)
	if err := c.server.stop(); err != nil {
		t.Fatal(err)
	}

	// Back, a person moves it.
	move := []string{"migrate", "queue", "--from", url, "--to", "sqlite", "--data", "."}
	for range rounds(t, 4) {
		p, out, err := startProcess(c.data, nil, move...)
		testenv.Check(t, err)
		go io.Copy(io.Discard, out) // of a command that ends before it is killed
		randomDelay()
		p.kill()
	}
	c.run(move...)
	if out := c.run("queue", "stats", "--queue", url); !strings.Contains(out, "0 messages") {
		t.Errorf("left behind: %s", out)
	}
	c.args = []string{"--workers", "2"}
	c.startServer()
	l.waitForBatches(10)
	l.stop()
	l.check()
	l.checkRejected()
}

// checkRejected checks that each rejected event is a dead letter, as often as it was
// counted. A client sends a batch again whose answer a kill prevented.
func (l *loadTest) checkRejected() {
	l.t.Helper()
	dead, all := make(map[string]int), 0
	l.getAll("/api/v1/queue/dead?", "dead", func(row map[string]any) {
		dead[row["event_id"].(string)]++
		all++
	})
	for _, id := range l.rejected {
		if dead[id] == 0 {
			l.t.Errorf("rejected event %s is no dead letter", id)
		}
	}
	if v, _ := metric(l.get("/metrics"), `picket_events_total{outcome="rejected"}`); v != fmt.Sprint(all) {
		l.t.Errorf("%s rejected events are counted, and there are %d dead letters", v, all)
	}
}
