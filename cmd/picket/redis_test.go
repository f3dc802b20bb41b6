//go:build unix

package main

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// A server and two workers share a queue on Redis. Each process and Redis are
// killed, and Redis is paused, under load. Intake continues while Redis is down,
// and every acknowledged event and every alert is stored once.
func TestKillRedisQueue(t *testing.T) { testKillRedisQueue(t, "") }

// The same with a queue of Celery tasks.
func TestKillCeleryQueue(t *testing.T) { testKillRedisQueue(t, "celery+") }

func testKillRedisQueue(t *testing.T, protocol string) {
	t.Parallel()
	redis := redistest.Start(t, redistest.DurableArgs...)
	url := protocol + redis.URL() + "?lease=6s" // a busy machine may renew late
	c := newTestCluster(t, "--workers", "0", "--queue", url)
	c.startServer()
	l := startLoad(c, loadOptions{})
	worker := []string{"--data", ".", "--queue", url}
	workers := c.startWorkers(c.data, worker...)
	l.waitForBatches(10)
	for n := range rounds(t, 8) {
		switch n % 4 {
		case 0:
			redis.Kill()
			l.waitForBatches(20) // into the disk buffer
			redis.StartAgain()
		case 1:
			i := rand.IntN(2)
			workers[i].kill()
			l.waitForBatches(10)
			workers[i] = c.startWorker(c.data, worker...)
		case 2:
			c.server.kill()
			c.startServer()
		case 3:
			redis.Pause()
			randomDelay()
			l.waitForBatches(5)
			redis.Resume()
		}
		l.waitForBatches(10)
		randomDelay()
	}
	// The server is killed with batches in the disk buffer. The next one forwards them.
	redis.Kill()
	l.waitForBatches(10)
	c.server.kill()
	c.startServer()
	l.waitForBatches(10)
	redis.StartAgain()
	l.waitForBatches(10)
	l.stop()
	l.regroups = protocol != ""
	testenv.Until(t, "the server forwards the disk buffer", func() bool {
		return strings.Contains(c.server.stderr.String(), "buffered batches forwarded") || c.server.stderr.String() == ""
	})
	l.check()
	c.stopWorkers(workers[:]...)
}

// The queue commands work on Redis, and doctor warns of its settings.
func TestRedisCommands(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	c := newTestCluster(t, "--workers", "0", "--queue", redis.URL())
	c.startServer()
	l := startLoad(c, loadOptions{})
	l.waitForBatches(10)
	l.stop()
	out := c.run("queue", "stats", "--queue", redis.URL(), "--json")
	if !strings.Contains(out, `"pending":`) || strings.Contains(out, `"pending":0,`) {
		t.Errorf("queue stats: %s", out)
	}
	if out := c.run("queue", "peek", "--queue", redis.URL(), "--limit", "3"); strings.Count(out, "\n") != 3 {
		t.Errorf("queue peek: %s", out)
	}
	if out := c.run("queue", "requeue", "--queue", redis.URL(), "--all"); !strings.Contains(out, "requeued") {
		t.Errorf("queue requeue: %s", out)
	}
	p, stdout, err := startProcess(c.data, nil, "doctor", "--data", ".", "--queue", redis.URL(), "--listen", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	report, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	<-p.exited
	if !strings.Contains(string(report), "appendonly is off") || p.err == nil {
		t.Errorf("doctor: %v: %s", p.err, report)
	}
}
