package queuetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

func (su suite) testBury(t *testing.T, q Queue) {
	n := su.eventCount(10)
	enqueue(t, q, message("a", n))
	d := receive(t, q, 1)[0]
	testenv.Check(t, q.Bury(t.Context(), d, deadLetter("e1"), deadLetter("e2")))
	wantStats(t, q, queue.Stats{Dead: 2, Accepted: int64(n), Failed: 2})
	page, err := q.DeadLetters(t.Context(), 0, 10)
	ls := page.DeadLetters
	testenv.Check(t, err)
	want := []queue.DeadLetter{deadLetter("e2"), deadLetter("e1")}
	for i := range want {
		want[i].Reason = queue.Failed
	}
	if diff := cmp.Diff(want, ls, cmpopts.IgnoreFields(queue.DeadLetter{}, "ID")); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Bytes == 0 {
		t.Error("dead letters take no bytes")
	}
}

func (su suite) testRejected(t *testing.T, q Queue) {
	n := su.eventCount(2)
	testenv.Check(t, q.Enqueue(t.Context(), message("a", n), deadLetter("bad")))
	wantStats(t, q, queue.Stats{Pending: 1, PendingEvents: int64(n), Dead: 1, Accepted: int64(n), Rejected: 1})
	page, err := q.DeadLetters(t.Context(), 0, 10)
	ls := page.DeadLetters
	testenv.Check(t, err)
	if len(ls) != 1 || ls[0].Reason != queue.Rejected || ls[0].EventID != "bad" || ls[0].Cause != "cause of bad" {
		t.Errorf("dead letters %+v", ls)
	}
}

func (su suite) testEnqueueOnlyRejected(t *testing.T, q Queue) {
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "a", Payload: []byte("a batch of none")}, deadLetter("bad"), deadLetter("worse")))
	wantStats(t, q, queue.Stats{Dead: 2, Rejected: 2})
}

func (su suite) testRequeueFailed(t *testing.T, q Queue) {
	n := int64(su.eventCount(3))
	enqueue(t, q, message("a", int(n)))
	testenv.Check(t, q.Bury(t.Context(), receive(t, q, 1)[0], deadLetter("e")))
	wantStats(t, q, queue.Stats{Dead: 1, Accepted: n, Failed: 1})
	wantRequeued(t, q, 1)
	wantStats(t, q, queue.Stats{Pending: 1, PendingEvents: 1, Accepted: n + 1, Failed: 1})
	d := receive(t, q, 1)[0]
	if !bytes.Equal(d.Payload, encodedBatch("e", 1)) || d.Attempt != 1 || d.Events != 1 || d.ID == "" || d.ID == "a" {
		t.Errorf("requeued as %+v", d)
	}
	// Buried again, it counts as accepted and failed twice.
	testenv.Check(t, q.Bury(t.Context(), d, deadLetter("e")))
	wantStats(t, q, queue.Stats{Dead: 1, Accepted: n + 1, Failed: 2})
}

func (su suite) testRequeueRejected(t *testing.T, q Queue) {
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1), deadLetter("e")))
	wantRequeued(t, q, 1)
	wantStats(t, q, queue.Stats{Pending: 2, PendingEvents: 2, Accepted: 2, Rejected: 1})
}

func (su suite) testRequeueSome(t *testing.T, q Queue) {
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "a"}, deadLetter("0"), deadLetter("1"), deadLetter("2")))
	page, err := q.DeadLetters(t.Context(), 0, 10)
	ls := page.DeadLetters
	testenv.Check(t, err)
	wantRequeued(t, q, 1, ls[1].ID)
	wantRequeued(t, q, 0, ls[1].ID, 1<<40) // requeued before, and unknown
	if d := receive(t, q, 1)[0]; !bytes.Equal(d.Payload, encodedBatch("1", 1)) {
		t.Errorf("requeued %q", d.Payload)
	}
	wantStats(t, q, queue.Stats{Leased: 1, LeasedEvents: 1, Dead: 2, Accepted: 1, Rejected: 3})
	// A dead letter without a payload stays.
	empty := deadLetter("3")
	empty.Payload = nil
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "b"}, empty))
	wantRequeued(t, q, 2)
	wantStats(t, q, queue.Stats{Leased: 1, LeasedEvents: 1, Pending: 2, PendingEvents: 2, Dead: 1, Accepted: 3, Rejected: 4})
}

func wantRequeued(t *testing.T, q Queue, wantCount int, ids ...int64) {
	t.Helper()
	n, err := q.Requeue(t.Context(), ids...)
	testenv.Check(t, err)
	if n != wantCount {
		t.Errorf("requeued %d dead letters, wantCount %d", n, wantCount)
	}
}

func (su suite) testPurge(t *testing.T, q Queue) {
	var ls []queue.DeadLetter
	for i := range 1000 {
		ls = append(ls, deadLetter(fmt.Sprint(i)))
	}
	accepted := int64(su.eventCount(1000))
	enqueue(t, q, message("a", int(accepted)))
	testenv.Check(t, q.Bury(t.Context(), receive(t, q, 1)[0], ls...))
	page, err := q.DeadLetters(t.Context(), 0, 2)
	newest := page.DeadLetters
	testenv.Check(t, err)
	n, err := q.Purge(t.Context(), newest[0].ID, newest[1].ID, newest[1].ID)
	testenv.Check(t, err)
	if n != 2 {
		t.Errorf("purged %d dead letters, want 2", n)
	}
	wantStats(t, q, queue.Stats{Dead: 998, Accepted: accepted, Failed: 1000, Purged: 2})
	if n, err = q.Purge(t.Context()); n != 998 || err != nil {
		t.Errorf("purged %d dead letters, want 998: %v", n, err)
	}
	wantStats(t, q, queue.Stats{Accepted: accepted, Failed: 1000, Purged: 1000})
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Bytes != 0 {
		t.Errorf("%d bytes leased in an empty queue", s.Bytes)
	}
}

func (su suite) testDeadLetters(t *testing.T, q Queue) {
	for i := range 5 {
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "x"}, deadLetter(fmt.Sprint(i))))
	}
	var got []string
	before := int64(0)
	for {
		page, err := q.DeadLetters(t.Context(), before, 2)
		ls := page.DeadLetters
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
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

// testCounters runs random operations and compares the counters with its own.
func (su suite) testCounters(t *testing.T, q Queue) {
	rng := rand.New(rand.NewPCG(1, 2))
	var want queue.Stats
	var leased []queue.Delivery
	dead := map[int64]queue.DeadReason{}
	for i := range 300 {
		switch op := rng.IntN(7); {
		case op <= 1:
			n := su.eventCount(1 + rng.IntN(5))
			testenv.Check(t, q.Enqueue(t.Context(), message(fmt.Sprint(i), n), deadLetter(fmt.Sprint(i))))
			want.Accepted += int64(n)
			want.Pending++
			want.PendingEvents += int64(n)
			want.Rejected++
			want.Dead++
			dead[newestDeadLetterID(t, q)] = queue.Rejected
		case op == 2 && want.Pending > 0:
			d := receive(t, q, 1)[0]
			leased = append(leased, d)
			want.Pending--
			want.PendingEvents -= int64(d.Events)
			want.Leased++
			want.LeasedEvents += int64(d.Events)
		case op <= 5 && len(leased) > 0:
			d := leased[len(leased)-1]
			leased = leased[:len(leased)-1]
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
				testenv.Check(t, q.Bury(t.Context(), d, deadLetter("x")))
				want.Failed++
				want.Dead++
				dead[newestDeadLetterID(t, q)] = queue.Failed
			}
		case op == 6 && len(dead) > 0:
			for id := range dead {
				if rng.IntN(2) == 0 {
					_, err := q.Purge(t.Context(), id)
					testenv.Check(t, err)
					want.Purged++
				} else {
					wantRequeued(t, q, 1, id)
					want.Pending++
					want.PendingEvents++
					want.Accepted++
				}
				want.Dead--
				delete(dead, id)
				break
			}
		}
		wantStats(t, q, want)
		if t.Failed() {
			t.Fatalf("after step %d", i)
		}
	}
}

func newestDeadLetterID(t *testing.T, q Queue) int64 {
	t.Helper()
	page, err := q.DeadLetters(t.Context(), 0, 1)
	ls := page.DeadLetters
	testenv.Check(t, err)
	return ls[0].ID
}
