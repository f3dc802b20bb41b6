//go:build unix

package redisqueue_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// A traffic is queues of several processes, as it were, in use.
type traffic struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	delivered    map[string]int
	running      sync.WaitGroup
	stopSending  func()
	stop         func()
}

// start sends and receives without pause, whatever fails.
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

// progress waits until so many further messages are acknowledged and
// delivered: traffic that is stuck never gets there.
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

// finish stops the senders, and checks that all that was acknowledged arrives
// and nothing stays behind.
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

// TestServerComesAndGoes: nobody stops consuming, and nothing that was
// acknowledged is lost, whatever happens to Redis.
func TestServerComesAndGoes(t *testing.T) {
	s := redistest.Start(t, redistest.Durable...)
	tr := start(t, s.URL(), redisqueue.Options{Lease: 2 * time.Second})
	tr.progress(t, "traffic at the start", 50)
	for range 3 {
		s.Kill()
		s.Start()
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
	time.Sleep(3500 * time.Millisecond) // longer than commands and leases wait
	s.Resume()
	tr.progress(t, "traffic after the server was frozen", 50)
	for i := range 16 {
		testenv.Check(t, admin.XGroupDestroy(t.Context(), fmt.Sprintf("picket:{%d}:in", i), "workers").Err())
	}
	tr.progress(t, "traffic after the groups were destroyed", 50)
	testenv.Check(t, admin.ScriptFlush(t.Context()).Err())
	tr.progress(t, "traffic after the scripts were forgotten", 50)
	tr.finish(t, s.URL())
}

// TestSlotMigrates moves shards between the masters of a Cluster under load.
func TestSlotMigrates(t *testing.T) {
	c := redistest.StartCluster(t, 3, redistest.Durable...)
	tr := start(t, c.URL(), redisqueue.Options{Lease: 2 * time.Second, Shards: 8})
	tr.progress(t, "traffic at the start", 50)
	spread := map[string]bool{}
	for shard := range 8 {
		slot, err := c[0].Client().ClusterKeySlot(t.Context(), fmt.Sprintf("picket:{%d}:in", shard)).Result()
		testenv.Check(t, err)
		from := c[min(int(slot)*3/16384, 2)]
		spread[from.Addr] = true
		if shard%2 == 0 {
			c.Move(t, int(slot), from, c[(min(int(slot)*3/16384, 2)+1)%3])
			tr.progress(t, "traffic after a shard has moved", 50)
		}
	}
	if len(spread) != 3 {
		t.Errorf("8 shards are on %d of 3 masters", len(spread))
	}
	tr.finish(t, c.URL())
}

// TestKill: what a killed process enqueued is there, and what it held is
// delivered to another.
func TestKill(t *testing.T) {
	const urlEnv = "PICKET_REDISQUEUE_URL"
	if os.Getenv(urlEnv) == "" {
		t.Setenv(urlEnv, redistest.Start(t, redistest.Durable...).URL())
	}
	queuetest.Kill(t, func(string) (queuetest.Queue, error) {
		return redisqueue.Open(context.Background(), os.Getenv(urlEnv), redisqueue.Options{Lease: time.Second, Logger: quiet})
	})
}

// TestPoison: a message that kills who works on it.
func TestPoison(t *testing.T) {
	const urlEnv = "PICKET_REDISQUEUE_URL"
	if os.Getenv(urlEnv) == "" {
		t.Setenv(urlEnv, redistest.Start(t).URL())
	}
	queuetest.Poison(t, func(string) (queuetest.Queue, error) {
		return redisqueue.Open(context.Background(), os.Getenv(urlEnv), redisqueue.Options{Lease: time.Second, Shards: 2, Logger: quiet})
	})
}

// A queue on a Redis that is frozen can be closed all the same.
func TestCloseWhileFrozen(t *testing.T) {
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
	start := time.Now()
	testenv.Check(t, q.Close())
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("closing took %v", took)
	}
}
