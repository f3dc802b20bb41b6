package queuetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

func (su suite) testRetry(t *testing.T, q Queue) {
	n := su.events(2)
	enqueue(t, q, message("a", n), message("b", 1))
	d := receive(t, q, 1)[0]
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: d, Cause: errors.New("store away")}))
	wantCounts(t, q, queue.Stats{Pending: 2, PendingEvents: int64(n + 1), Accepted: int64(n + 1)})
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

// Many deliveries go back in one call, in their order.
func (su suite) testRetryMany(t *testing.T, q Queue) {
	enqueue(t, q, message("a", 1), message("b", 1), message("c", 1))
	ds := receive(t, q, 3)
	testenv.Check(t, q.Retry(t.Context(), 0))
	testenv.Check(t, q.Retry(t.Context(), time.Millisecond, queue.Retry{Delivery: ds[0], Cause: errors.New("store away")}, queue.Retry{Delivery: ds[2]}))
	wantCounts(t, q, queue.Stats{Pending: 2, PendingEvents: 2, Leased: 1, LeasedEvents: 1, Accepted: 3})
	again := receive(t, q, 2)
	wantIDs(t, again, "a", "c")
	if again[0].Attempt != 2 || again[1].Attempt != 2 {
		t.Errorf("attempts %d and %d, want 2", again[0].Attempt, again[1].Attempt)
	}
	testenv.Check(t, q.Ack(t.Context(), append(again, ds[1])...))
	wantCounts(t, q, queue.Stats{Accepted: 3})
}

// A delivery that was given back is no longer the caller's.
func (su suite) testStaleDelivery(t *testing.T, q Queue) {
	enqueue(t, q, message("a", 1))
	stale := receive(t, q, 1)[0]
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: stale}))
	held := receive(t, q, 1)[0]
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: stale}))
	testenv.Check(t, q.Bury(t.Context(), stale, letter("e")))
	wantCounts(t, q, queue.Stats{Leased: 1, LeasedEvents: 1, Accepted: 1})
	testenv.Check(t, q.Ack(t.Context(), held))
	testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: held}))
	testenv.Check(t, q.Bury(t.Context(), held, letter("e")))
	wantCounts(t, q, queue.Stats{Accepted: 1})
}

func (su suite) testBury(t *testing.T, q Queue) {
	n := su.events(10)
	enqueue(t, q, message("a", n))
	d := receive(t, q, 1)[0]
	testenv.Check(t, q.Bury(t.Context(), d, letter("e1"), letter("e2")))
	wantCounts(t, q, queue.Stats{Dead: 2, Accepted: int64(n), Failed: 2})
	ls, err := q.DeadLetters(t.Context(), 0, 10)
	testenv.Check(t, err)
	want := []queue.DeadLetter{letter("e2"), letter("e1")}
	for i := range want {
		want[i].Reason = queue.Failed
	}
	if diff := cmp.Diff(want, ls, cmpopts.IgnoreFields(queue.DeadLetter{}, "ID")); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Bytes == 0 {
		t.Error("letters take no bytes")
	}
}

func (su suite) testRejected(t *testing.T, q Queue) {
	n := su.events(2)
	testenv.Check(t, q.Enqueue(t.Context(), message("a", n), letter("bad")))
	wantCounts(t, q, queue.Stats{Pending: 1, PendingEvents: int64(n), Dead: 1, Accepted: int64(n), Rejected: 1})
	ls, err := q.DeadLetters(t.Context(), 0, 10)
	testenv.Check(t, err)
	if len(ls) != 1 || ls[0].Reason != queue.Rejected || ls[0].EventID != "bad" || ls[0].Cause != "cause of bad" {
		t.Errorf("letters %+v", ls)
	}
}

func (su suite) testRejectedAlone(t *testing.T, q Queue) {
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "a", Payload: []byte("a batch of none")}, letter("bad"), letter("worse")))
	wantCounts(t, q, queue.Stats{Dead: 2, Rejected: 2})
}

func (su suite) testRequeueFailed(t *testing.T, q Queue) {
	n := int64(su.events(3))
	enqueue(t, q, message("a", int(n)))
	testenv.Check(t, q.Bury(t.Context(), receive(t, q, 1)[0], letter("e")))
	wantCounts(t, q, queue.Stats{Dead: 1, Accepted: n, Failed: 1})
	requeue(t, q, 1)
	wantCounts(t, q, queue.Stats{Pending: 1, PendingEvents: 1, Accepted: n})
	d := receive(t, q, 1)[0]
	if !bytes.Equal(d.Payload, payload("e", 1)) || d.Attempt != 1 || d.Events != 1 || d.ID == "" || d.ID == "a" {
		t.Errorf("requeued as %+v", d)
	}
	// Dead again, the event failed once: it is one event.
	testenv.Check(t, q.Bury(t.Context(), d, letter("e")))
	wantCounts(t, q, queue.Stats{Dead: 1, Accepted: n, Failed: 1})
}

func (su suite) testRequeueRejected(t *testing.T, q Queue) {
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1), letter("e")))
	requeue(t, q, 1)
	wantCounts(t, q, queue.Stats{Pending: 2, PendingEvents: 2, Accepted: 2})
}

func (su suite) testRequeueSome(t *testing.T, q Queue) {
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "a"}, letter("0"), letter("1"), letter("2")))
	ls, err := q.DeadLetters(t.Context(), 0, 10)
	testenv.Check(t, err)
	requeue(t, q, 1, ls[1].ID)
	requeue(t, q, 0, ls[1].ID, 1<<40) // gone, and never there
	if d := receive(t, q, 1)[0]; !bytes.Equal(d.Payload, payload("1", 1)) {
		t.Errorf("requeued %q", d.Payload)
	}
	wantCounts(t, q, queue.Stats{Leased: 1, LeasedEvents: 1, Dead: 2, Accepted: 1, Rejected: 2})
	// One without a payload has nothing to put back.
	empty := letter("3")
	empty.Payload = nil
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "b"}, empty))
	requeue(t, q, 2)
	wantCounts(t, q, queue.Stats{Leased: 1, LeasedEvents: 1, Pending: 2, PendingEvents: 2, Dead: 1, Accepted: 3, Rejected: 1})
}

func requeue(t *testing.T, q Queue, want int, ids ...int64) {
	t.Helper()
	n, err := q.Requeue(t.Context(), ids...)
	testenv.Check(t, err)
	if n != want {
		t.Errorf("requeued %d letters, want %d", n, want)
	}
}

func (su suite) testPurge(t *testing.T, q Queue) {
	var ls []queue.DeadLetter
	for i := range 1000 {
		ls = append(ls, letter(fmt.Sprint(i)))
	}
	accepted := int64(su.events(1000))
	enqueue(t, q, message("a", int(accepted)))
	testenv.Check(t, q.Bury(t.Context(), receive(t, q, 1)[0], ls...))
	newest, err := q.DeadLetters(t.Context(), 0, 2)
	testenv.Check(t, err)
	n, err := q.Purge(t.Context(), newest[0].ID, newest[1].ID, newest[1].ID)
	testenv.Check(t, err)
	if n != 2 {
		t.Errorf("purged %d letters, want 2", n)
	}
	wantCounts(t, q, queue.Stats{Dead: 998, Accepted: accepted, Failed: 1000, Purged: 2})
	if n, err = q.Purge(t.Context()); n != 998 || err != nil {
		t.Errorf("purged %d letters, want 998: %v", n, err)
	}
	wantCounts(t, q, queue.Stats{Accepted: accepted, Failed: 1000, Purged: 1000})
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Bytes != 0 {
		t.Errorf("%d bytes held by nothing", s.Bytes)
	}
}

func (su suite) testLetters(t *testing.T, q Queue) {
	for i := range 5 {
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "x"}, letter(fmt.Sprint(i))))
	}
	var got []string
	before := int64(0)
	for {
		ls, err := q.DeadLetters(t.Context(), before, 2)
		testenv.Check(t, err)
		if len(ls) == 0 {
			break
		}
		for _, l := range ls {
			got = append(got, l.EventID)
			before = l.ID
		}
	}
	if diff := cmp.Diff([]string{"4", "3", "2", "1", "0"}, got); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
}

// testCounters does many things by chance and holds the books beside it.
func (su suite) testCounters(t *testing.T, q Queue) {
	rng := rand.New(rand.NewPCG(1, 2))
	var want queue.Stats
	var held []queue.Delivery
	dead := map[int64]queue.DeadReason{}
	for i := range 300 {
		switch op := rng.IntN(7); {
		case op <= 1:
			n := su.events(1 + rng.IntN(5))
			testenv.Check(t, q.Enqueue(t.Context(), message(fmt.Sprint(i), n), letter(fmt.Sprint(i))))
			want.Accepted += int64(n)
			want.Pending++
			want.PendingEvents += int64(n)
			want.Rejected++
			want.Dead++
			dead[newestLetter(t, q)] = queue.Rejected
		case op == 2 && want.Pending > 0:
			d := receive(t, q, 1)[0]
			held = append(held, d)
			want.Pending--
			want.PendingEvents -= int64(d.Events)
			want.Leased++
			want.LeasedEvents += int64(d.Events)
		case op <= 5 && len(held) > 0:
			d := held[len(held)-1]
			held = held[:len(held)-1]
			want.Leased--
			want.LeasedEvents -= int64(d.Events)
			switch op {
			case 3:
				testenv.Check(t, q.Ack(t.Context(), d))
			case 4:
				testenv.Check(t, q.Retry(t.Context(), 0, queue.Retry{Delivery: d}))
				want.Pending++
				want.PendingEvents += int64(d.Events)
			case 5:
				testenv.Check(t, q.Bury(t.Context(), d, letter("x")))
				want.Failed++
				want.Dead++
				dead[newestLetter(t, q)] = queue.Failed
			}
		case op == 6 && len(dead) > 0:
			for id, kind := range dead {
				if rng.IntN(2) == 0 {
					_, err := q.Purge(t.Context(), id)
					testenv.Check(t, err)
					want.Purged++
				} else {
					requeue(t, q, 1, id)
					want.Pending++
					want.PendingEvents++
					if kind == queue.Rejected {
						want.Rejected--
						want.Accepted++
					} else {
						want.Failed--
					}
				}
				want.Dead--
				delete(dead, id)
				break
			}
		}
		wantCounts(t, q, want)
		if t.Failed() {
			t.Fatalf("after step %d", i)
		}
	}
}

func newestLetter(t *testing.T, q Queue) int64 {
	t.Helper()
	ls, err := q.DeadLetters(t.Context(), 0, 1)
	testenv.Check(t, err)
	return ls[0].ID
}
