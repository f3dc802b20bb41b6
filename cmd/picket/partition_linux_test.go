package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/nettest"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// The server, two workers, Redis and the store each run on a host of their own,
// and the clients on that of the server. Hosts chosen at random are unplugged, or
// all their packets are dropped, and they are connected again. Every acknowledged
// event and every alert is stored once.
func TestPartitions(t *testing.T) {
	t.Parallel()
	bridge := nettest.NewBridge(t)
	serverHost, redisHost, storeHost := bridge.AttachHost(), bridge.AttachHost(), bridge.AttachHost()
	workerHosts := [2]*nettest.Host{bridge.AttachHost(), bridge.AttachHost()}
	var redis *redistest.Server
	redisHost.Run(func() {
		redis = redistest.Start(t, append([]string{"--bind", redisHost.Addr + " 127.0.0.1", "--protected-mode", "no"}, redistest.DurableArgs...)...)
	})
	var mongo *mongotest.Server
	storeHost.Run(func() { mongo = mongotest.StartProcess(t, t.TempDir(), storeHost.Addr+":0") })
	_, port, _ := net.SplitHostPort(redis.Addr)
	c := newTestCluster(t, "--workers", "0", "--rules", "builtin", "--rules", writeCorrelation(t))
	c.env = []string{"PICKET_QUEUE=redis://" + net.JoinHostPort(redisHost.Addr, port) + "/0?lease=2s", "PICKET_STORE=" + mongo.Database(t)}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return serverHost.Dial(ctx, network, addr)
	}}}
	var l *loadTest
	serverHost.Run(func() {
		c.startServer()
		l = startLoad(c, loadOptions{client: client, pause: 50 * time.Millisecond})
	})
	var workers [2]*process
	for i, host := range workerHosts {
		host.Run(func() { workers[i] = c.startWorker(t.TempDir()) })
	}
	l.waitForBatches(10)
	hosts := append([]*nettest.Host{serverHost, redisHost, storeHost}, workerHosts[:]...)
	last := -1
	for n := range rounds(t, 6) {
		i := rand.IntN(len(hosts))
		for i == last {
			i = rand.IntN(len(hosts))
		}
		last = i
		disconnect := []func(){hosts[i].Unplug, hosts[i].Blackhole}[n%2]
		t.Logf("%s is disconnected (%d)", []string{"server", "Redis", "store", "worker 1", "worker 2"}[i], n%2)
		disconnect()
		l.waitForBatches(5)
		time.Sleep(rand.N(4 * time.Second)) // shorter and longer than the timeouts of requests
		hosts[i].Heal()
		l.waitForBatches(5)
	}
	l.stop()
	l.check()
	l.checkCorrelation()
	c.stopWorkers(workers[:]...)
}
