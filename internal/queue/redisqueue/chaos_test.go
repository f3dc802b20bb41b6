//go:build unix

package redisqueue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// traffic enqueues and receives with several queues, like several processes.
type traffic struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	delivered    map[string]int
	running      sync.WaitGroup
	stopSending  func()
	stop         func()
}

// start enqueues and receives continuously, whatever fails.
func start(t *testing.T, url string, o redisqueue.Options) *traffic {
	sending, stopSending := context.WithCancel(t.Context())
	ctx, stop := context.WithCancel(t.Context())
	tr := &traffic{acknowledged: map[string]bool{}, delivered: map[string]int{}, stopSending: stopSending, stop: stop}
	t.Cleanup(func() { stop(); stopSending(); tr.running.Wait() })
	for p := range 2 {
		in, out := open(t, url, o), open(t, url, o)
		for s := range 3 {
			tr.running.Go(func() {
				for n := 0; sending.Err() == nil; n++ {
					id := fmt.Sprintf("%d-%d-%d", p, s, n)
					if err := in.Enqueue(sending, message(id, 500)); err != nil {
						wait(sending, 10*time.Millisecond)
						continue
					}
					tr.mu.Lock()
					tr.acknowledged[id] = true
					tr.mu.Unlock()
					wait(sending, time.Millisecond)
				}
			})
		}
		for range 2 {
			tr.running.Go(func() {
				for ctx.Err() == nil {
					ds, err := out.Receive(ctx, 20)
					if err != nil {
						wait(ctx, 10*time.Millisecond)
						continue
					}
					tr.mu.Lock()
					for _, d := range ds {
						tr.delivered[d.ID]++
					}
					tr.mu.Unlock()
					for out.Ack(ctx, ds...) != nil && ctx.Err() == nil {
						wait(ctx, 10*time.Millisecond)
					}
				}
			})
		}
	}
	return tr
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// progress waits until n more messages have been acknowledged and delivered.
func (tr *traffic) progress(t *testing.T, what string, n int) {
	t.Helper()
	count := func() (int, int) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.acknowledged), len(tr.delivered)
	}
	a, d := count()
	testenv.Until(t, what, func() bool { a2, d2 := count(); return a2 >= a+n && d2 >= d+n })
}

// finish stops enqueuing and checks that every acknowledged message is delivered
// and the queue becomes empty.
func (tr *traffic) finish(t *testing.T, url string) {
	t.Helper()
	tr.stopSending()
	missing := func() (ids []string) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for id := range tr.acknowledged {
			if tr.delivered[id] == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	q := open(t, url, redisqueue.Options{})
	testenv.Until(t, "all that was acknowledged is delivered, and the queue empty", func() bool {
		s, err := q.Stats(t.Context())
		return err == nil && len(missing()) == 0 && s.Pending+s.Leased == 0
	})
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Bytes != 0 || s.PendingEvents != 0 || s.LeasedEvents != 0 || s.Accepted < int64(len(tr.acknowledged)) {
		t.Errorf("stats of an empty queue, %d messages acknowledged: %+v", len(tr.acknowledged), s)
	}
	twice := 0
	for _, n := range tr.delivered {
		twice += n - 1
	}
	t.Logf("%d messages acknowledged, %d delivered, %d of them again", len(tr.acknowledged), len(tr.delivered), twice)
}

// TestServerFailures: whatever happens to Redis, receivers go on afterwards and no
// acknowledged message is lost.
func TestServerFailures(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.DurableArgs...)
	tr := start(t, s.URL(), redisqueue.Options{Lease: 2 * time.Second})
	tr.progress(t, "traffic at the start", 50)
	for range 3 {
		s.Kill()
		s.StartAgain()
		tr.progress(t, "traffic after kill -9 of the server", 50)
	}
	admin := s.Client()
	for range 3 {
		for _, kind := range []string{"normal", "pubsub"} {
			testenv.Check(t, admin.Do(t.Context(), "client", "kill", "type", kind, "skipme", "yes").Err())
		}
		tr.progress(t, "traffic after the connections were cut", 50)
	}
	s.Pause()
	time.Sleep(3500 * time.Millisecond) // longer than the timeouts of commands and leases
	s.Resume()
	tr.progress(t, "traffic after the server was paused", 50)
	for i := range 16 {
		testenv.Check(t, admin.XGroupDestroy(t.Context(), fmt.Sprintf("picket:{%d}:in", i), "workers").Err())
	}
	tr.progress(t, "traffic after the groups were destroyed", 50)
	testenv.Check(t, admin.ScriptFlush(t.Context()).Err())
	tr.progress(t, "traffic after the scripts were flushed", 50)
	tr.finish(t, s.URL())
}

// TestSlotMigrates moves shards between the masters of a Cluster under load.
func TestSlotMigrates(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, redistest.DurableArgs...)
	tr := start(t, c.URL(), redisqueue.Options{Lease: 2 * time.Second, Shards: 8})
	tr.progress(t, "traffic at the start", 50)
	spread := map[string]bool{}
	for shard := range 8 {
		slot, err := c[0].Client().ClusterKeySlot(t.Context(), fmt.Sprintf("picket:{%d}:in", shard)).Result()
		testenv.Check(t, err)
		from := c[min(int(slot)*3/16384, 2)]
		spread[from.Addr] = true
		if shard%2 == 0 {
			c.MigrateSlot(t, int(slot), from, c[(min(int(slot)*3/16384, 2)+1)%3])
			tr.progress(t, "traffic after a shard has moved", 50)
		}
	}
	if len(spread) != 3 {
		t.Errorf("8 shards are on %d of 3 masters", len(spread))
	}
	tr.finish(t, c.URL())
}

// TestKill: messages that a killed process enqueued are not lost, and those that
// it had leased are delivered to another.
func TestKill(t *testing.T) {
	t.Parallel()
	queuetest.RunKillTest(t, openIn(t, redistest.DurableArgs...))
}

// TestPoison: a message that kills the processes that receive it.
func TestPoison(t *testing.T) {
	t.Parallel()
	queuetest.RunPoisonTest(t, openIn(t))
}

// openIn opens queues on a server that the first of them starts, and whose URL
// is in a file, for child processes.
func openIn(t *testing.T, args ...string) queuetest.Open {
	return func(dir string) (queuetest.Queue, error) {
		file := filepath.Join(dir, "redis-url")
		url, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			url = []byte(redistest.Start(t, args...).URL())
			err = os.WriteFile(file, url, 0o600)
		}
		if err != nil {
			return nil, err
		}
		return redisqueue.Open(context.Background(), string(url), redisqueue.Options{Lease: 300 * time.Millisecond, Shards: 2, Logger: discardLog})
	}
}

// A queue can be closed while its server is paused.
func TestCloseWhilePaused(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	q := open(t, s.URL(), redisqueue.Options{})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1)))
	_, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go q.Receive(ctx, 1)
	s.Pause()
	defer s.Resume()
	testenv.Check(t, q.Close())
}
