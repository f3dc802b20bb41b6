package redisqueue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// Messages that a running queue has leased stay with it after the lease time. When
// it is closed, they are delivered again at once.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	const lease = time.Second // renewed three times as often, also on a busy machine
	s := redistest.Start(t)
	o := redisqueue.Options{Lease: lease}
	slow, other := open(t, s.URL(), o), open(t, s.URL(), o)
	testenv.Check(t, slow.Enqueue(t.Context(), message("a", 1)))
	_, err := slow.Receive(t.Context(), 1)
	testenv.Check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*lease)
	defer cancel()
	if ds, err := other.Receive(ctx, 1); err == nil {
		t.Fatalf("received %+v, which another queue has leased", ds)
	}
	testenv.Check(t, slow.Close())
	ds, err := other.Receive(t.Context(), 1)
	testenv.Check(t, err)
	if ds[0].ID != "a" || ds[0].Attempt != 2 {
		t.Errorf("received %+v", ds[0])
	}
}

// The messages of a consumer that is gone are delivered to another. The consumer
// is deleted once it has no messages.
func TestGoneConsumer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	q := open(t, s.URL(), redisqueue.Options{Lease: 50 * time.Millisecond, Shards: 1})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1)))
	client := s.Client()
	testenv.Check(t, client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "workers", Consumer: "gone", Streams: []string{"picket:{0}:in", ">"}}).Err())
	ds, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	if ds[0].ID != "a" || ds[0].Attempt != 2 {
		t.Errorf("received %+v", ds[0])
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go q.Receive(ctx, 1) // consumers are checked while a receiver waits
	testenv.Until(t, "the consumer is removed", func() bool {
		cs, err := client.XInfoConsumers(t.Context(), "picket:{0}:in", "workers").Result()
		testenv.Check(t, err)
		for _, c := range cs {
			if c.Name == "gone" {
				return false
			}
		}
		return true
	})
	testenv.Check(t, q.Ack(t.Context(), ds...))
	st, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if st.Pending+st.Leased != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A message that could not be returned, because Redis was unreachable, is
// delivered again when its lease ends.
func TestRetryWhileUnreachable(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.DurableArgs...)
	q := open(t, s.URL(), redisqueue.Options{Lease: 300 * time.Millisecond})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1)))
	ds, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	s.Kill()
	if err := q.Retry(t.Context(), 0, queue.Retry{Delivery: ds[0]}); err == nil {
		t.Error("no error while Redis is down")
	}
	s.StartAgain()
	testenv.Until(t, "the message is delivered again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ds, err := q.Receive(ctx, 1)
		return err == nil && ds[0].ID == "a" && ds[0].Attempt == 2
	})
}

// Messages that were prefetched for a receiver that no longer waits go to others,
// and count as not delivered.
func TestPrefetchedIsReturned(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	q, other := open(t, s.URL(), redisqueue.Options{}), open(t, s.URL(), redisqueue.Options{})
	for i := range 40 {
		testenv.Check(t, q.Enqueue(t.Context(), message(fmt.Sprint(i), 1)))
	}
	first, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	got := map[string]bool{first[0].ID: true}
	testenv.Until(t, "the other queue receives the rest", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ds, _ := other.Receive(ctx, 100)
		for _, d := range ds {
			got[d.ID] = true
			if d.Attempt != 1 {
				t.Errorf("message %s has attempt %d, want 1", d.ID, d.Attempt)
			}
		}
		return len(got) == 40
	})
}
