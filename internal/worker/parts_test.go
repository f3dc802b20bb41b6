package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/worker"
)

// large makes a batch whose events take much more memory than their bytes.
func large(id string, n int) picket.Batch {
	b := batch(id, n, "good", "evil")
	for i := range b.Events {
		b.Events[i].Raw = append(b.Events[i].Raw[:len(b.Events[i].Raw)-1], (`,"a":[` + strings.Repeat("1,", 999) + "1]}")...)
	}
	return b
}

// A batch that takes more memory than MaxMemoryBytes is detected and saved in parts, once,
// also if it is delivered again, and its events that fail become dead letters.
func TestParts(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	var most atomic.Int64
	r.save = func(_ context.Context, bs []store.Batch) error {
		for _, b := range bs {
			most.Store(max(most.Load(), int64(len(b.Events))))
		}
		return nil
	}
	b := large("b", 100)
	b.Events[17].Raw = []byte(`"panic"`)
	b.Events[160].Raw = []byte(`"bad"`)
	r.enqueue(t, b)
	r.enqueue(t, batch("small", 10, "good", "evil"))
	r.work(t, 2, new(detector), worker.Options{Concurrency: 1, MaxMemoryBytes: 1 << 20})
	r.want(t, 218, 109, 2)
	if n := most.Load(); n > 20 {
		t.Errorf("%d events saved at once", n)
	}
	r.enqueue(t, b)
	r.work(t, 1, new(detector), worker.Options{Concurrency: 1, MaxMemoryBytes: 1 << 20})
	r.want(t, 218, 109, 4)
}

// Once the last part is saved, the batch counts as saved.
func TestSavedInParts(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.enqueue(t, large("b", 50))
	got := make(results, 1)
	r.work(t, 1, new(detector), worker.Options{Concurrency: 1, MaxMemoryBytes: 1 << 20, Results: got})
	if saved, err := r.Saved(t.Context(), "b"); err != nil || !saved {
		t.Errorf("saved is %v, %v", saved, err)
	}
	ids := []string{"b"}
	for i := range 50 {
		ids = append(ids, fmt.Sprint("b-evil-", i))
	}
	if diff := cmp.Diff(ids, <-got); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

// Events with too many matches are detected a few at a time.
func TestTooManyMatches(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 4 {
		r.enqueue(t, batch(fmt.Sprint("b", i), 20, "good", "evil"))
	}
	r.work(t, 4, limited{new(detector)}, worker.Options{Concurrency: 1})
	r.want(t, 160, 80, 0)
}

// limited is a detector that takes three events at a time.
type limited struct{ *detector }

func (d limited) Detect(events []picket.Event) ([]picket.Match, error) {
	if len(events) > 3 {
		return nil, fmt.Errorf("of %d events: %w", len(events), picket.ErrTooManyMatches)
	}
	return d.detector.Detect(events)
}

// Handle leaves a batch that takes too much memory to Run.
func TestHandleLargeBatch(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	w := worker.New(r, func() worker.Detector { return new(detector) }, r, worker.Options{MaxMemoryBytes: 1 << 20})
	b := large("b", 50)
	if err := w.Handle(t.Context(), queue.Message{ID: b.ID, Events: len(b.Events), Payload: b.Encode(nil)}); err == nil {
		t.Error("handled")
	}
	r.want(t, 0, 0, 0)
}
