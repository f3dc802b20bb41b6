//go:build unix

package main

import (
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/nettest"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// The parts of a deployment on many machines are killed or paused under load: the
// server, two workers that run the rules that it publishes, Redis and the store.
// Every acknowledged event and every alert is stored once, and a correlation over
// the events lists each. PICKET_TEST_EVENTS is how many events are posted at least.
func TestKillEverything(t *testing.T) {
	t.Parallel()
	redis, storeDir := redistest.Start(t, redistest.DurableArgs...), t.TempDir()
	mongo := mongotest.StartProcess(t, storeDir, "127.0.0.1:0", "--sync-on-commit")
	c := newTestCluster(t, "--workers", "0", "--rules", "builtin", "--rules", writeCorrelation(t))
	c.env = []string{"PICKET_QUEUE=" + redis.URL() + "?lease=2s", "PICKET_STORE=" + mongo.Database(t), "PICKET_CACHE=redis://" + redis.Addr + "/1"}
	c.startServer()
	l := startLoad(c, loadOptions{})
	workers := c.startWorkers("")
	l.waitForBatches(10)
	for n := range rounds(t, 6) {
		switch n % 6 {
		case 0:
			i := rand.IntN(2)
			workers[i].kill()
			l.waitForBatches(5)
			workers[i] = c.startWorker(t.TempDir())
		case 1:
			c.server.kill()
			c.startServer()
		case 2:
			redis.Kill()
			l.waitForBatches(10) // into the disk buffer
			redis.StartAgain()
		case 3:
			mongo.Process().Signal(syscall.SIGSTOP)
			l.waitForBatches(10) // onto the queue
			mongo.Process().Signal(syscall.SIGCONT)
		case 4:
			redis.Pause()
			randomDelay()
			l.waitForBatches(5)
			redis.Resume()
		case 5:
			mongo.Kill()
			l.waitForBatches(10) // onto the queue
			mongo = mongotest.StartProcess(t, storeDir, mongo.Addr(), "--sync-on-commit")
		}
		l.waitForBatches(5)
		randomDelay()
	}
	if events, err := strconv.ParseInt(os.Getenv("PICKET_TEST_EVENTS"), 10, 64); err == nil {
		l.waitForBatches(max(events/loadBatch-l.acked.Load(), 0))
	}
	l.stop()
	begin := time.Now()
	l.waitUntilEmpty()
	t.Logf("the queue was empty %v after the last batch", time.Since(begin).Round(time.Second/10))
	l.check()
	l.checkCorrelation()
	c.stopWorkers(workers[:]...)
}

// Connections are partitioned, delayed and closed: those of the server to Redis,
// and those of a worker to Redis and to the store.
func TestBadNetwork(t *testing.T) {
	t.Parallel()
	redis, mongo := redistest.Start(t, redistest.DurableArgs...), mongotest.StartProcess(t, t.TempDir(), "127.0.0.1:0")
	database := mongo.Database(t)
	serverRedis, workerRedis := nettest.NewProxy(t, redis.Addr), nettest.NewProxy(t, redis.Addr)
	workerMongo := nettest.NewProxy(t, mongo.Addr())
	c := newTestCluster(t, "--workers", "0", "--queue", "redis://"+serverRedis.Addr+"/0?lease=2s")
	c.env = []string{"PICKET_STORE=" + database}
	c.startServer()
	l := startLoad(c, loadOptions{})
	worker := c.startWorker(t.TempDir(), "--queue", "redis://"+workerRedis.Addr+"/0?lease=2s",
		"--store", mongo.Through(workerMongo.Addr, database))
	l.waitForBatches(10)
	for _, proxy := range []*nettest.Proxy{serverRedis, workerRedis, workerMongo} {
		proxy.Partition()
		l.waitForBatches(5) // into the disk buffer or the queue
		proxy.Heal()
		l.waitForBatches(2)
		proxy.Delay(5 * time.Millisecond)
		l.waitForBatches(5)
		proxy.CloseConns()
		l.waitForBatches(2)
		proxy.Heal()
		l.waitForBatches(2)
	}
	l.stop()
	l.check()
	c.stopWorkers(worker)
}
