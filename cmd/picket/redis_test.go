//go:build unix

package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// A server and two workers share a queue on Redis; each of the three and
// Redis itself is killed, and Redis frozen, under load. Intake goes on while
// Redis is away, every event that was answered for is stored once, and every
// alert is there once.
func TestKillAroundRedis(t *testing.T) { testKillAround(t, "") }

// The same with tasks of Celery between server and workers.
func TestKillAroundCelery(t *testing.T) { testKillAround(t, "celery+") }

func testKillAround(t *testing.T, protocol string) {
	redis := redistest.Start(t, redistest.Durable...)
	url := protocol + redis.URL() + "?lease=2s"
	f := newTestCluster(t, "--workers", "0", "--queue", url)
	f.startServer()
	l := startLoad(f)
	c := newTestWorkers(t, func() string { return f.data }, "--data", ".", "--queue", url)
	l.waitForBatches(10)
	for n := range rounds(8) {
		switch n % 4 {
		case 0:
			redis.Kill()
			l.waitForBatches(20) // into the disk buffer
			redis.Start()
		case 1:
			i := rand.IntN(2)
			c.workers[i].kill()
			l.waitForBatches(10)
			c.start(i)
		case 2:
			f.server.kill()
			f.startServer()
		case 3:
			redis.Pause()
			randomDelay()
			l.waitForBatches(5)
			redis.Resume()
		}
		l.waitForBatches(10)
		randomDelay()
	}
	// The server ends with batches in the disk buffer, and its next run forwards them.
	redis.Kill()
	l.waitForBatches(10)
	f.server.kill()
	f.startServer()
	l.waitForBatches(10)
	redis.Start()
	l.waitForBatches(10)
	l.stop()
	l.regroups = protocol != ""
	testenv.Until(t, "the server has Redis back", func() bool {
		return strings.Contains(f.server.err.String(), "buffered batches forwarded") || f.server.err.String() == ""
	})
	l.check()
	c.stop()
}

// The commands that look at a queue do so on Redis, and doctor says what its
// settings are worth.
func TestRedisCommands(t *testing.T) {
	redis := redistest.Start(t)
	f := newTestCluster(t, "--workers", "0", "--queue", redis.URL())
	f.startServer()
	l := startLoad(f)
	l.waitForBatches(10)
	l.stop()
	out := f.run("queue", "stats", "--queue", redis.URL(), "--json")
	if !strings.Contains(out, `"pending":`) || strings.Contains(out, `"pending":0,`) {
		t.Errorf("queue stats: %s", out)
	}
	if out := f.run("queue", "peek", "--queue", redis.URL(), "--limit", "3"); strings.Count(out, "\n") != 3 {
		t.Errorf("queue peek: %s", out)
	}
	if out := f.run("queue", "requeue", "--queue", redis.URL(), "--all"); !strings.Contains(out, "requeued") {
		t.Errorf("queue requeue: %s", out)
	}
	p, r, err := start(f.data, "doctor", "--data", ".", "--queue", redis.URL(), "--listen", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 4096)
	for n, err := r.Read(buf); err == nil; n, err = r.Read(buf) {
		said.Write(buf[:n])
	}
	select {
	case <-p.end:
	case <-time.After(testenv.Timeout):
		t.Fatal("doctor does not end")
	}
	if !strings.Contains(said.String(), "appendonly is off") || p.res == nil {
		t.Errorf("doctor: %v: %s", p.res, said.String())
	}
}
