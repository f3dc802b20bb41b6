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

// frozen is for how long servers are frozen: 5 seconds, or what
// PICKET_TEST_FREEZE says.
func frozen(t *testing.T) time.Duration {
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
// it and not answered is spooled, behind much else, and done by Redis when it
// thaws. It is there once.
func TestFreezeRedis(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable...)
	url := redis.URL() + "?lease=2s"
	f := newFleet(t, "--workers", "0", "--queue", url)
	f.up()
	l := startPaced(f, frozen(t)/2500)
	c := newCrew(t, func() string { return f.data }, "--data", ".", "--queue", url)
	l.more(100)
	redis.Pause()
	l.during(frozen(t))
	redis.Resume()
	l.more(100)
	l.halt()
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
	f := newFleet(t, "--workers", "0")
	f.up()
	// FerretDB reads all events for each page of them: there can be few.
	l := startPaced(f, frozen(t)/15)
	c := newCrew(t, t.TempDir)
	l.more(10)
	for _, freeze := range []struct{ begin, end func() }{
		{redis.Pause, redis.Resume},
		{stop, proceed},
		{func() { redis.Pause(); stop() }, func() { redis.Resume(); proceed() }},
	} {
		freeze.begin()
		l.during(frozen(t))
		freeze.end()
		l.more(10)
	}
	l.halt()
	l.check()
	c.stop()
}

// A server that has no room for a spool has its senders wait while Redis is
// frozen.
func TestFreezeWithoutSpool(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable...)
	f := newFleet(t, "--queue", redis.URL()+"?lease=2s", "--spill-bytes", "0")
	f.up()
	l := startLoad(f)
	l.more(10)
	redis.Pause()
	tries := l.tried()
	testenv.Until(t, "senders are told to wait", func() bool { return l.tried() > tries+2*loadClients })
	redis.Resume()
	l.more(10)
	l.halt()
	l.check()
}
