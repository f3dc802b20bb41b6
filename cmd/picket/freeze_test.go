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

// pauseDuration is for how long servers are frozen: 5 seconds, or what
// PICKET_TEST_FREEZE says.
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

// Redis freezes under full load, with a store that keeps up: what was sent to
// it and not answered is in the disk buffer, behind much else, and done by Redis when it
// thaws. It is there once.
func TestFreezeRedis(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable...)
	url := redis.URL() + "?lease=2s"
	f := newTestCluster(t, "--workers", "0", "--queue", url)
	f.startServer()
	l := startPaced(f, pauseDuration(t)/2500)
	c := newTestWorkers(t, func() string { return f.data }, "--data", ".", "--queue", url)
	l.waitForBatches(100)
	redis.Pause()
	l.runFor(pauseDuration(t))
	redis.Resume()
	l.waitForBatches(100)
	l.stop()
	l.check()
	c.stop()
}

// Redis, the store and both freeze for a while under load. Intake goes on, and
// all catches up by itself.
func TestFreezeEngines(t *testing.T) {
	redis, mongo := redistest.Start(t, redistest.Durable...), mongotest.Start(t)
	stop := func() { mongo.Process().Signal(syscall.SIGSTOP) }
	proceed := func() { mongo.Process().Signal(syscall.SIGCONT) }
	t.Setenv("PICKET_QUEUE", redis.URL()+"?lease=2s")
	t.Setenv("PICKET_STORE", mongo.Database(t))
	f := newTestCluster(t, "--workers", "0")
	f.startServer()
	// FerretDB reads all events for each page of them: there can be few.
	l := startPaced(f, pauseDuration(t)/15)
	c := newTestWorkers(t, t.TempDir)
	l.waitForBatches(10)
	for _, freeze := range []struct{ begin, end func() }{
		{redis.Pause, redis.Resume},
		{stop, proceed},
		{func() { redis.Pause(); stop() }, func() { redis.Resume(); proceed() }},
	} {
		freeze.begin()
		l.runFor(pauseDuration(t))
		freeze.end()
		l.waitForBatches(10)
	}
	l.stop()
	l.check()
	c.stop()
}

// A server that has no disk buffer has its senders wait while Redis is
// frozen.
func TestFreezeWithoutSpool(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable...)
	f := newTestCluster(t, "--queue", redis.URL()+"?lease=2s", "--spill-bytes", "0")
	f.startServer()
	l := startLoad(f)
	l.waitForBatches(10)
	redis.Pause()
	tries := l.attempts()
	testenv.Until(t, "senders are told to wait", func() bool { return l.attempts() > tries+2*loadClients })
	redis.Resume()
	l.waitForBatches(10)
	l.stop()
	l.check()
}
