// Package queuetest tests that an implementation of package queue keeps its
// promises.
package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

// A Queue is a queue under test.
type Queue interface {
	queue.Queue
	queue.Inspector
}

// Run runs the suite. Each call of open returns a new, empty queue, which takes at
// least 1 MiB and which open closes in the cleanup of the test.
func Run(t *testing.T, open func(t *testing.T) Queue) { run(t, open, false) }

// RunSingleEvent runs the suite with messages of one event, for a queue that stores each
// event as a message of its own.
func RunSingleEvent(t *testing.T, open func(t *testing.T) Queue) { run(t, open, true) }

// eventCount returns the number of events for a message that should have wanted.
func (su suite) eventCount(wanted int) int {
	if su.singleEvent {
		return 1
	}
	return wanted
}

// A suite has the tests.
type suite struct {
	singleEvent bool // all messages have one event
}

func run(t *testing.T, open func(t *testing.T) Queue, singleEvent bool) {
	su := suite{singleEvent}
	for _, c := range []struct {
		name string
		test func(*testing.T, Queue)
	}{
		{"RoundTrip", su.testRoundTrip},
		{"Order", su.testOrder},
		{"ReceiveBlocks", su.testReceiveBlocks},
		{"ReceiveEndsWithContext", su.testReceiveContextEnds},
		{"OneReceiverAtATime", su.testOneReceiver},
		{"Retry", su.testRetry},
		{"RetryMany", su.testRetryMany},
		{"RetryDelay", su.testRetryDelay},
		{"EndedLease", su.testEndedLease},
		{"Bury", su.testBury},
		{"Rejected", su.testRejected},
		{"RejectedAlone", su.testEnqueueOnlyRejected},
		{"RequeueFailed", su.testRequeueFailed},
		{"RequeueRejected", su.testRequeueRejected},
		{"RequeueSome", su.testRequeueSome},
		{"Purge", su.testPurge},
		{"Peek", su.testPeek},
		{"Letters", su.testDeadLetters},
		{"LetterPages", su.testDeadLetterPages},
		{"LargePayload", su.testLargePayload},
		{"CountersAddUp", su.testCounters},
		{"Rates", su.testRates},
		{"Closed", su.testClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

func (su suite) testRoundTrip(t *testing.T, q Queue) {
	before := time.Now().Add(-time.Second)
	n := su.eventCount(3)
	m := message("a", n)
	enqueue(t, q, m)
	wantStats(t, q, queue.Stats{Pending: 1, PendingEvents: int64(n), Accepted: int64(n)})
	d := receive(t, q, 1)[0]
	if diff := cmp.Diff(m, d.Message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if d.Attempt != 1 {
		t.Errorf("attempt %d, want 1", d.Attempt)
	}
	if d.Enqueued.Before(before) || d.Enqueued.After(time.Now().Add(time.Second)) {
		t.Errorf("enqueued at %v", d.Enqueued)
	}
	wantStats(t, q, queue.Stats{Leased: 1, LeasedEvents: int64(n), Accepted: int64(n)})
	testenv.Check(t, q.Ack(t.Context(), d))
	wantStats(t, q, queue.Stats{Accepted: int64(n)})
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Bytes != 0 || s.MaxBytes <= 0 || s.OldestAge != 0 {
		t.Errorf("empty queue holds %d of %d bytes, the oldest %v s old", s.Bytes, s.MaxBytes, s.OldestAge)
	}
	testenv.Check(t, q.Ack(t.Context())) // no deliveries
	testenv.Check(t, q.Ack(t.Context(), d))
	wantStats(t, q, queue.Stats{Accepted: int64(n)})
}

func (su suite) testOrder(t *testing.T, q Queue) {
	var want []string
	for i := range 100 {
		id := fmt.Sprintf("m%03d", i)
		want = append(want, id)
		enqueue(t, q, message(id, 1))
	}
	ds := receive(t, q, 60)
	ds = append(ds, receive(t, q, 40)...)
	wantIDs(t, ds, want...)
	testenv.Check(t, q.Ack(t.Context(), ds...))
	wantStats(t, q, queue.Stats{Accepted: 100})
}

func (su suite) testReceiveBlocks(t *testing.T, q Queue) {
	got := make(chan []queue.Delivery, 1)
	errs := make(chan error, 1)
	ctx := withTimeout(t)
	go func() {
		ds, err := q.Receive(ctx, 10)
		errs <- err
		got <- ds
	}()
	enqueue(t, q, message("a", 1))
	testenv.Check(t, <-errs)
	wantIDs(t, <-got, "a")
}

func (su suite) testReceiveContextEnds(t *testing.T, q Queue) {
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		_, err := q.Receive(ctx, 1)
		errs <- err
	}()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	// The next message must not go to the receiver whose context ended.
	enqueue(t, q, message("a", 1))
	wantIDs(t, receive(t, q, 1), "a")
}

func (su suite) testOneReceiver(t *testing.T, q Queue) {
	const messages, receivers = 200, 8
	ctx, cancel := context.WithCancel(withTimeout(t))
	defer cancel()
	got := make(chan string, messages*2)
	errs := make(chan error, receivers)
	for range receivers {
		go func() {
			for {
				ds, err := q.Receive(ctx, 3)
				if err != nil {
					if ctx.Err() != nil {
						err = nil
					}
					errs <- err
					return
				}
				for _, d := range ds {
					got <- d.ID
				}
				if err := q.Ack(context.WithoutCancel(ctx), ds...); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	for i := range messages {
		enqueue(t, q, message(fmt.Sprint(i), 1))
	}
	seen := map[string]int{}
	for len(seen) < messages {
		select {
		case id := <-got:
			if seen[id]++; seen[id] > 1 {
				t.Fatalf("message %s was delivered twice", id)
			}
		case err := <-errs:
			t.Fatalf("receiver ended early: %v", err)
		case <-ctx.Done():
			t.Fatalf("%d of %d messages were delivered", len(seen), messages)
		}
	}
	cancel()
	for range receivers {
		testenv.Check(t, <-errs)
	}
	wantStats(t, q, queue.Stats{Accepted: messages})
}

func (su suite) testPeek(t *testing.T, q Queue) {
	for i := range 5 {
		enqueue(t, q, message(fmt.Sprint(i), 1))
	}
	first := receive(t, q, 1)
	ds, err := q.Peek(t.Context(), 3)
	testenv.Check(t, err)
	wantIDs(t, ds, "1", "2", "3")
	if !bytes.Equal(ds[0].Payload, encodedBatch("1", 1)) || ds[0].Events != 1 {
		t.Errorf("peeked at %+v", ds[0])
	}
	testenv.Check(t, q.Retry(t.Context(), time.Hour, queue.Retry{Delivery: first[0], Cause: errors.New("no")}))
	ds, err = q.Peek(t.Context(), 100)
	testenv.Check(t, err)
	wantIDs(t, ds, "0", "1", "2", "3", "4")
	wantStats(t, q, queue.Stats{Pending: 5, PendingEvents: 5, Accepted: 5})
}

func (su suite) testLargePayload(t *testing.T, q Queue) {
	m := messageOfSize("large", 700<<10)
	enqueue(t, q, m)
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Bytes < int64(len(m.Payload)) {
		t.Errorf("%d bytes held, want %d or more", s.Bytes, len(m.Payload))
	}
	if diff := cmp.Diff(m, receive(t, q, 1)[0].Message); diff != "" {
		t.Error("payload changed")
	}
}

func (su suite) testRates(t *testing.T, q Queue) {
	const maxSpan = 70.0 // seconds that the rates may cover
	n := su.eventCount(1000)
	enqueue(t, q, message("a", n))
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.InRate < float64(n)/maxSpan || s.OutRate != 0 {
		t.Errorf("rates %v in, %v out", s.InRate, s.OutRate)
	}
	testenv.Check(t, q.Ack(t.Context(), receive(t, q, 1)...))
	if s, err = q.Stats(t.Context()); err != nil || s.OutRate < float64(n)/maxSpan {
		t.Errorf("rates %v in, %v out: %v", s.InRate, s.OutRate, err)
	}
}

func (su suite) testClosed(t *testing.T, q Queue) {
	testenv.Check(t, q.Close())
	if err := q.Enqueue(t.Context(), message("a", 1)); err == nil {
		t.Error("enqueued to a closed queue")
	}
	if _, err := q.Receive(t.Context(), 1); err == nil {
		t.Error("received from a closed queue")
	}
	testenv.Check(t, q.Close())
}
