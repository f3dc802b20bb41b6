//go:build unix

package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/nettest"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// Everything is on machines of its own: a server, two workers that run the
// rules that it publishes, the queue on Redis, the store on MongoDB. Each is
// killed or frozen under load. Every event that was answered for is stored
// once, every alert is there once, and a correlation over them lists each.
func TestKillEverywhere(t *testing.T) {
	redis, mongo := redistest.Start(t, redistest.Durable...), mongotest.Start(t)
	t.Setenv("PICKET_QUEUE", redis.URL()+"?lease=2s")
	t.Setenv("PICKET_STORE", mongo.Database(t))
	t.Setenv("PICKET_CACHE", "redis://"+redis.Addr+"/1")
	rules := t.TempDir()
	if err := os.WriteFile(filepath.Join(rules, "many.yml"), []byte(manyRule), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newTestCluster(t, "--workers", "0", "--rules", "builtin", "--rules", rules)
	f.startServer()
	l := startLoad(f)
	c := newTestWorkers(t, t.TempDir)
	l.waitForBatches(10)
	for n := range rounds(5) {
		switch n % 5 {
		case 0:
			i := rand.IntN(2)
			c.workers[i].kill()
			l.waitForBatches(5)
			c.start(i)
		case 1:
			f.server.kill()
			f.startServer()
		case 2:
			redis.Kill()
			l.waitForBatches(10) // into the disk buffer
			redis.Start()
		case 3:
			mongo.Process().Signal(syscall.SIGSTOP)
			l.waitForBatches(10) // onto the queue
			mongo.Process().Signal(syscall.SIGCONT)
		case 4:
			redis.Pause()
			randomDelay()
			l.waitForBatches(5)
			redis.Resume()
		}
		l.waitForBatches(5)
		randomDelay()
	}
	l.stop()
	l.check()
	l.checkMany()
	c.stop()
}

// The network between them parts, slows down and breaks: between the server
// and Redis, and between a worker and Redis and the store.
func TestBadNetwork(t *testing.T) {
	redis, mongo := redistest.Start(t, redistest.Durable...), mongotest.Start(t)
	database := mongo.Database(t)
	serverRedis, workerRedis := nettest.NewProxy(t, redis.Addr), nettest.NewProxy(t, redis.Addr)
	workerMongo := nettest.NewProxy(t, mongo.Addr())
	t.Setenv("PICKET_STORE", database)
	f := newTestCluster(t, "--workers", "0", "--queue", "redis://"+serverRedis.Addr+"/0?lease=2s")
	f.startServer()
	l := startLoad(f)
	p, _, err := start(t.TempDir(), "worker", "--concurrency", "2", "--queue", "redis://"+workerRedis.Addr+"/0?lease=2s",
		"--store", strings.Replace(database, mongo.Addr(), workerMongo.Addr, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	l.waitForBatches(10)
	for _, bad := range []*nettest.Proxy{serverRedis, workerRedis, workerMongo} {
		bad.Partition()
		l.waitForBatches(5) // into the disk buffer or the queue
		bad.Heal()
		l.waitForBatches(2)
		bad.Delay(5 * time.Millisecond)
		l.waitForBatches(5)
		bad.CloseConns()
		l.waitForBatches(2)
		bad.Heal()
		l.waitForBatches(2)
	}
	l.stop()
	l.check()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
