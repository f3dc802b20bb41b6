package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/worker"
)

// Only the events that detection fails on become dead letters. Requeued with a
// better detector, they are stored.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.enqueue(t, batch("a", 1, "good"))
	b := batch("b", 50, "good", "evil")
	b.Events[17].Raw = []byte(`"panic"`)
	b.Events[80].Raw = []byte(`"bad"`)
	r.enqueue(t, b)
	m := r.work(t, 2, new(detector), worker.Options{Concurrency: 1})
	r.want(t, 99, 49, 2)
	if m.Failed != 2 || m.Retries != 0 {
		t.Errorf("metrics %+v", m)
	}
	page, err := r.DeadLetters(t.Context(), 0, 10)
	ls := page.DeadLetters
	testenv.Check(t, err)
	causes := map[string]string{}
	for _, l := range ls {
		causes[l.EventID] = l.Cause
		if l.Reason != queue.Failed || l.AgentID != "agent" || l.Events != 1 {
			t.Errorf("dead letter %+v", l)
		}
	}
	if c := causes[b.Events[17].ID]; !strings.Contains(c, "panic: cannot look at "+b.Events[17].ID) {
		t.Errorf("cause %q", c)
	}
	if c := causes[b.Events[80].ID]; !strings.Contains(c, "is bad") {
		t.Errorf("cause %q", c)
	}

	n, err := r.Requeue(t.Context())
	testenv.Check(t, err)
	r.work(t, n, new(detector), worker.Options{}) // fails again
	r.want(t, 99, 49, 2)
	_, err = r.Requeue(t.Context())
	testenv.Check(t, err)
	r.work(t, n, nopDetector{}, worker.Options{})
	r.want(t, 101, 49, 0)
}

type nopDetector struct{}

func (nopDetector) Detect([]picket.Event) ([]picket.Match, error) { return nil, nil }

// A batch that was lost too often is not processed: it becomes a dead letter, or is
// acked if it had been saved.
func TestLostBatch(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	killed, saved := batch("killer", 3, "good"), batch("saved", 3, "good")
	r.enqueue(t, killed)
	r.enqueue(t, saved)
	_, err := r.Save(t.Context(), store.Batch{ID: saved.ID, Events: saved.Events})
	testenv.Check(t, err)
	r.lost = queue.MaxLost
	m := r.work(t, 2, new(detector), worker.Options{})
	r.want(t, 3, 0, 1)
	if m.Failed != 3 || m.Batches != 0 {
		t.Errorf("metrics %+v", m)
	}
	page, err := r.DeadLetters(t.Context(), 0, 10)
	ls := page.DeadLetters
	testenv.Check(t, err)
	if l := ls[0]; l.Reason != queue.Failed || l.Events != 3 || l.Cause != "its worker was lost 4 times" || !bytes.Equal(l.Payload, killed.Encode(nil)) {
		t.Errorf("dead letter %+v", l)
	}
	r.lost = 0
	n, err := r.Requeue(t.Context())
	testenv.Check(t, err)
	r.work(t, n, new(detector), worker.Options{})
	r.want(t, 6, 0, 0)
}

func TestUndecodable(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.enqueue(t, batch("a", 1, "good"))
	testenv.Check(t, r.Enqueue(t.Context(), queue.Message{ID: "b", Events: 7, Payload: []byte("no batch")}))
	r.work(t, 2, new(detector), worker.Options{Concurrency: 1})
	r.want(t, 1, 0, 1)
	page, err := r.DeadLetters(t.Context(), 0, 10)
	ls := page.DeadLetters
	testenv.Check(t, err)
	if l := ls[0]; l.Events != 7 || string(l.Payload) != "no batch" || l.Cause == "" {
		t.Errorf("dead letter %+v", l)
	}
}

// While the store is unavailable, the worker retries, and logs it once.
func TestStoreUnavailable(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 20 {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 5, "evil"))
	}
	r.save = func(context.Context, []store.Batch) error {
		if r.saves.Load() <= 10 {
			return errors.New("store is away")
		}
		return nil
	}
	m := r.work(t, 20, new(detector), worker.Options{Concurrency: 2, MaxMessages: 3})
	r.want(t, 100, 100, 0)
	if m.Retries == 0 || m.Failed != 0 {
		t.Errorf("metrics %+v", m)
	}
	if n := strings.Count(r.log.String(), "store is away"); n != 1 {
		t.Errorf("the error is logged %d times, want once", n)
	}
	if !strings.Contains(r.log.String(), "store available again") {
		t.Error("not logged that the store is available again")
	}
}

// On a full disk neither the store nor the queue can write. What could not be saved is
// returned to the queue as soon as that can be written.
func TestQueueUnavailableForReturn(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 5 {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 5, "evil"))
	}
	r.save = func(context.Context, []store.Batch) error {
		if r.saves.Load() <= 1 {
			return errors.New("disk full")
		}
		return nil
	}
	var returns atomic.Int64
	r.retry = func() error {
		if returns.Add(1) <= 3 {
			return queue.ErrDiskFull
		}
		return nil
	}
	r.work(t, 5, new(detector), worker.Options{Concurrency: 1})
	r.want(t, 25, 25, 0)
	if n := strings.Count(r.log.String(), "returning messages to queue failed; retrying"); n != 1 {
		t.Errorf("the failure is logged %d times, want once", n)
	}
}

// When the store is unavailable, all deliveries of a Receive are returned to the
// queue together: those that were tried with the cause, the others without.
func TestRetryCauses(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 6 {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 10, "good"))
	}
	away := errors.New("store is away")
	r.retries = make(chan []queue.Retry, 100)
	r.save = func(context.Context, []store.Batch) error {
		if r.saves.Load() <= 1 {
			return away
		}
		return nil
	}
	r.work(t, 6, new(detector), worker.Options{Concurrency: 1, MaxEvents: 20})
	type retry struct {
		ID    string
		Tried bool
	}
	var got []retry
	for _, rt := range <-r.retries {
		got = append(got, retry{rt.Delivery.ID, errors.Is(rt.Cause, away)})
	}
	want := []retry{{"b0", true}, {"b1", true}, {"b2", false}, {"b3", false}, {"b4", false}, {"b5", false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("returned to the queue (-want +got):\n%s", diff)
	}
	r.want(t, 60, 0, 0)
}

// Results are reported before the delivery is acked, also if the queue is wrapped,
// as it is here.
func TestResults(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.enqueue(t, batch("a", 2, "good", "evil"))
	got := make(results, 1)
	r.work(t, 1, new(detector), worker.Options{Results: got})
	select {
	case ids := <-got:
		if diff := cmp.Diff([]string{"a", "a-evil-0", "a-evil-1"}, ids); diff != "" {
			t.Errorf("reported (-want +got):\n%s", diff)
		}
	default:
		t.Error("acked, but not reported")
	}
}

// results has the batch and the events with matches of each report.
type results chan []string

func (r results) ReportResult(d queue.Delivery, matches []picket.Match) {
	ids := []string{d.ID}
	for _, m := range matches {
		ids = append(ids, m.EventID)
	}
	r <- ids
}

// While the detector is unavailable, the worker retries too.
func TestDetectorUnavailable(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.enqueue(t, batch("a", 5, "good"))
	r.work(t, 1, &flaky{left: 3}, worker.Options{Concurrency: 1})
	r.want(t, 5, 0, 0)
}

type flaky struct{ left int }

func (f *flaky) Detect([]picket.Event) ([]picket.Match, error) {
	if f.left--; f.left >= 0 {
		return nil, fmt.Errorf("correlation state: %w", picket.ErrUnavailable)
	}
	return nil, nil
}

// Of events with the same id in several indices, only the one that cannot be stored
// becomes a dead letter.
func TestStoreRejectsEventOfIndex(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	b := batch("b", 4, "evil")
	for i := range b.Events {
		b.Events[i].ID, b.Events[i].Index = "same", fmt.Sprint("index-", i)
	}
	r.enqueue(t, b)
	r.save = func(_ context.Context, bs []store.Batch) error {
		for _, b := range bs {
			if slices.ContainsFunc(b.Events, func(e picket.Event) bool { return e.Index == "index-2" }) {
				return fmt.Errorf("not storable: %w", picket.ErrInvalid)
			}
		}
		return nil
	}
	r.work(t, 1, new(detector), worker.Options{Concurrency: 1})
	r.want(t, 3, 3, 1)
}

// An event that cannot be stored becomes a dead letter, the others of its batch are
// stored, whether the store returns an error or panics.
func TestStoreRejectsEvent(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return fmt.Errorf("not storable: %w", picket.ErrInvalid) },
		"panic": func() error { panic("not storable") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			for i := range 3 {
				r.enqueue(t, batch(fmt.Sprintf("b%d", i), 10, "good", "evil"))
			}
			r.save = func(_ context.Context, bs []store.Batch) error {
				for _, b := range bs {
					for _, e := range b.Events {
						if e.ID == "b1-evil-3" {
							return fail()
						}
					}
				}
				return nil
			}
			r.work(t, 3, new(detector), worker.Options{Concurrency: 1})
			r.want(t, 59, 29, 1)
		})
	}
}
