package queuetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

func (su suite) testRetry(t *testing.T, q Queue) {
	n := su.eventCount(2)
	enqueue(t, q, message("a", n), message("b", 1))
	d := receive(t, q, 1)[0]
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: d, Cause: errors.New("store away")}))
	wantStats(t, q, queue.Stats{Pending: 2, PendingEvents: int64(n + 1), Accepted: int64(n + 1)})
	seen := map[string]int{}
	for _, d := range receive(t, q, 2) {
		seen[d.ID] = d.Attempt
	}
	if diff := cmp.Diff(map[string]int{"a": 2, "b": 1}, seen); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
}

func (su suite) testRetryDelay(t *testing.T, q Queue) {
	const delay = 300 * time.Millisecond
	enqueue(t, q, message("a", 1), message("b", 1))
	d := receive(t, q, 1)[0]
	start := time.Now()
	testenv.Check(t, q.Retry(t.Context(), delay, queue.Retry{Delivery: d}))
	wantIDs(t, receive(t, q, 1), "b")
	d = receive(t, q, 1)[0]
	if took := time.Since(start); d.ID != "a" || took < delay {
		t.Errorf("message %s came after %v, want a after %v", d.ID, took, delay)
	}
	if d.Attempt != 2 {
		t.Errorf("attempt %d, want 2", d.Attempt)
	}
}

// One call returns many deliveries, which keep their order.
func (su suite) testRetryMany(t *testing.T, q Queue) {
	enqueue(t, q, message("a", 1), message("b", 1), message("c", 1))
	ds := receive(t, q, 3)
	testenv.Check(t, q.Retry(t.Context(), 0))
	testenv.Check(t, q.Retry(t.Context(), time.Millisecond, queue.Retry{Delivery: ds[0], Cause: errors.New("store away")}, queue.Retry{Delivery: ds[2]}))
	wantStats(t, q, queue.Stats{Pending: 2, PendingEvents: 2, Leased: 1, LeasedEvents: 1, Accepted: 3})
	again := receive(t, q, 2)
	wantIDs(t, again, "a", "c")
	if again[0].Attempt != 2 || again[1].Attempt != 2 {
		t.Errorf("attempts %d and %d, want 2", again[0].Attempt, again[1].Attempt)
	}
	testenv.Check(t, q.Ack(t.Context(), append(again, ds[1])...))
	wantStats(t, q, queue.Stats{Accepted: 3})
}

// Retry and Bury of a delivery whose lease has ended have no effect.
func (su suite) testEndedLease(t *testing.T, q Queue) {
	enqueue(t, q, message("a", 1))
	stale := receive(t, q, 1)[0]
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: stale}))
	current := receive(t, q, 1)[0]
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: stale}))
	testenv.Check(t, q.Bury(t.Context(), stale, deadLetter("e")))
	wantStats(t, q, queue.Stats{Leased: 1, LeasedEvents: 1, Accepted: 1})
	testenv.Check(t, q.Ack(t.Context(), current))
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: current}))
	testenv.Check(t, q.Bury(t.Context(), current, deadLetter("e")))
	wantStats(t, q, queue.Stats{Accepted: 1})
}
