//go:build unix

package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/testenv"
)

// pauseDuration returns how long servers are paused: 5 seconds, or
// PICKET_TEST_FREEZE.
func pauseDuration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PICKET_TEST_FREEZE")
	if text == "" {
		return map[bool]time.Duration{false: 5 * time.Second, true: time.Second}[testing.Short()]
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PICKET_TEST_FREEZE: %v", err)
	}
	return d
}

// Redis is paused under full load, with a store that keeps up. Requests that got
// no reply are in the disk buffer, behind much else, and Redis carries them out too
// when it resumes. Their events are stored once.
func TestPauseRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, redistest.DurableArgs...)
	url := redis.URL() + "?lease=2s"
	c := newTestCluster(t, "--workers", "0", "--queue", url)
	c.startServer()
	l := startLoad(c, loadOptions{pause: pauseDuration(t) / 2500})
	workers := c.startWorkers(c.data, "--data", ".", "--queue", url)
	l.waitForBatches(100)
	redis.Pause()
	l.runFor(pauseDuration(t))
	redis.Resume()
	l.waitForBatches(100)
	l.stop()
	l.check()
	c.stopWorkers(workers[:]...)
}

// Redis, the store, and both are paused under load. Intake continues, and the
// backlog is processed without help.
func TestPauseEngines(t *testing.T) {
	t.Parallel()
	redis, mongo := redistest.Start(t, redistest.DurableArgs...), mongotest.StartProcess(t, t.TempDir(), "127.0.0.1:0")
	pauseMongo := func() { mongo.Process().Signal(syscall.SIGSTOP) }
	resumeMongo := func() { mongo.Process().Signal(syscall.SIGCONT) }
	c := newTestCluster(t, "--workers", "0")
	c.env = []string{"PICKET_QUEUE=" + redis.URL() + "?lease=2s", "PICKET_STORE=" + mongo.Database(t)}
	c.startServer()
	l := startLoad(c, loadOptions{pause: pauseDuration(t) / 100})
	workers := c.startWorkers("")
	l.waitForBatches(10)
	for _, engines := range []struct{ pause, resume func() }{
		{redis.Pause, redis.Resume},
		{pauseMongo, resumeMongo},
		{func() { redis.Pause(); pauseMongo() }, func() { redis.Resume(); resumeMongo() }},
	} {
		engines.pause()
		l.runFor(pauseDuration(t))
		engines.resume()
		l.waitForBatches(10)
	}
	l.stop()
	l.check()
	c.stopWorkers(workers[:]...)
}

// A server without a disk buffer answers clients with 503 while Redis is paused.
func TestPauseWithoutDiskBuffer(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, redistest.DurableArgs...)
	c := newTestCluster(t, "--queue", redis.URL()+"?lease=2s", "--spill-bytes", "0")
	c.startServer()
	l := startLoad(c, loadOptions{})
	l.waitForBatches(10)
	redis.Pause()
	before := l.attempts()
	testenv.Until(t, "clients retry", func() bool { return l.attempts() > before+2*loadClients })
	redis.Resume()
	l.waitForBatches(10)
	l.stop()
	l.check()
}
