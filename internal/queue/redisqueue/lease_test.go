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

// What a living queue holds stays with it past the lease; what it closed on is
// delivered again at once.
func TestSlowIsNotDead(t *testing.T) {
	const lease = 300 * time.Millisecond
	s := redistest.Start(t)
	o := redisqueue.Options{Lease: lease}
	slow, other := open(t, s.URL(), o), open(t, s.URL(), o)
	testenv.Check(t, slow.Enqueue(t.Context(), message("a", 1)))
	_, err := slow.Receive(t.Context(), 1)
	testenv.Check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*lease)
	defer cancel()
	if ds, err := other.Receive(ctx, 1); err == nil {
		t.Fatalf("received %+v, which another queue holds", ds)
	}
	testenv.Check(t, slow.Close())
	ds, err := other.Receive(t.Context(), 1)
	testenv.Check(t, err)
	if ds[0].ID != "a" || ds[0].Attempt != 2 {
		t.Errorf("received %+v", ds[0])
	}
}

// A consumer that is gone loses what it held to another, and is removed when
// it holds nothing, not before.
func TestGoneConsumer(t *testing.T) {
	s := redistest.Start(t)
	q := open(t, s.URL(), redisqueue.Options{Lease: 100 * time.Millisecond, Shards: 1})
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
	go q.Receive(ctx, 1) // consumers are looked at while somebody waits
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

// A message that could not be given back, for Redis was away, comes again when
// its lease ends: nobody holds it for ever.
func TestRetryWhileAway(t *testing.T) {
	s := redistest.Start(t, redistest.Durable...)
	q := open(t, s.URL(), redisqueue.Options{Lease: time.Second})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1)))
	ds, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	s.Kill()
	if err := q.Retry(t.Context(), 0, queue.Retry{Delivery: ds[0]}); err == nil {
		t.Error("given back to a Redis that is away")
	}
	s.Start()
	testenv.Until(t, "the message comes again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ds, err := q.Receive(ctx, 1)
		return err == nil && ds[0].ID == "a" && ds[0].Attempt == 2
	})
}

// What was fetched beyond what its receiver asked for goes to others, when
// nobody here asks any more, and counts as not delivered.
func TestSurplus(t *testing.T) {
	s := redistest.Start(t)
	q, other := open(t, s.URL(), redisqueue.Options{}), open(t, s.URL(), redisqueue.Options{})
	for i := range 40 {
		testenv.Check(t, q.Enqueue(t.Context(), message(fmt.Sprint(i), 1)))
	}
	first, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	got := map[string]bool{first[0].ID: true}
	testenv.Until(t, "the others get the rest", func() bool {
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
