package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/nettest"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// The server, two workers, Redis and the store are each on a host of their
// own, and senders on that of the server. At random one is cut off, by a cable
// that is unplugged or by a network that swallows everything, and comes back.
// Every event that was answered for is stored once, and every alert is there
// once.
func TestPartitions(t *testing.T) {
	sw := nettest.NewBridge(t)
	serving, queueing, storing := sw.Host(), sw.Host(), sw.Host()
	working := [2]*nettest.Host{sw.Host(), sw.Host()}
	var redis *redistest.Server
	queueing.Do(func() {
		redis = redistest.Start(t, append([]string{"--bind", queueing.Addr + " 127.0.0.1", "--protected-mode", "no"}, redistest.Durable...)...)
	})
	var mongo *mongotest.Server
	storing.Do(func() { mongo = mongotest.StartOn(t, t.TempDir(), storing.Addr+":0", "-quick") })
	_, port, _ := net.SplitHostPort(redis.Addr)
	t.Setenv("PICKET_QUEUE", "redis://"+net.JoinHostPort(queueing.Addr, port)+"/0?lease=2s")
	t.Setenv("PICKET_STORE", mongo.Database(t))
	rules := t.TempDir()
	if err := os.WriteFile(filepath.Join(rules, "many.yml"), []byte(manyRule), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newTestCluster(t, "--workers", "0", "--rules", "builtin", "--rules", rules)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return serving.Dial(ctx, network, addr)
	}}}
	var l *loadTest
	serving.Do(func() {
		f.startServer()
		l = startLoadBy(client, f, 400*time.Millisecond) // FerretDB reads all events for each page
	})
	crew := make([]*process, len(working))
	for i, host := range working {
		host.Do(func() {
			p, _, err := start(t.TempDir(), "worker", "--concurrency", "2")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.kill)
			crew[i] = p
		})
	}
	l.waitForBatches(10)
	hosts := append([]*nettest.Host{serving, queueing, storing}, working[:]...)
	last := -1
	for n := range rounds(6) {
		i := rand.IntN(len(hosts))
		for i == last {
			i = rand.IntN(len(hosts))
		}
		last = i
		how := []func(){hosts[i].Unplug, hosts[i].Blackhole}[n%2]
		t.Logf("host %d of server, Redis, store, worker, worker is apart (%d)", i, n%2)
		how()
		l.waitForBatches(5)
		time.Sleep(rand.N(4 * time.Second)) // longer than some wait for an answer
		hosts[i].Heal()
		l.waitForBatches(5)
	}
	l.stop()
	l.check()
	l.checkMany()
	for _, p := range crew {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}
}
