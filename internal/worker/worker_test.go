package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/worker"
	"github.com/picket-edr/picket/sigma"
)

// A fixture is a worker with a real queue and a real store, whose calls it counts and
// can make fail.
type fixture struct {
	*sqlitequeue.Queue
	store *sqlitestore.Store
	log   *testenv.Buffer

	settled chan int           // messages acked or buried
	retries chan []queue.Retry // of calls; nil: not recorded
	retry   func() error       // before each Retry; nil: nothing
	saves   atomic.Int64
	save    func(ctx context.Context, bs []store.Batch) error // before each Save; nil: nothing
	lost    int                                               // Delivery.Lost of each delivery
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	r := openFixture(t, t.TempDir())
	t.Cleanup(func() { r.close(t) })
	return r
}

func openFixture(t testing.TB, dir string) *fixture {
	t.Helper()
	q, err := sqlitequeue.Open(filepath.Join(dir, "queue.db"), sqlitequeue.Options{})
	testenv.Check(t, err)
	s, err := sqlitestore.Open(filepath.Join(dir, "store.db"), sqlitestore.Options{})
	testenv.Check(t, err)
	return &fixture{Queue: q, store: s, log: new(testenv.Buffer), settled: make(chan int, 10_000)}
}

func (r *fixture) close(t testing.TB) {
	t.Helper()
	testenv.Check(t, r.Close())
	testenv.Check(t, r.store.Close())
}

func (r *fixture) Receive(ctx context.Context, max int) ([]queue.Delivery, error) {
	ds, err := r.Queue.Receive(ctx, max)
	for i := range ds {
		ds[i].Lost = r.lost
	}
	return ds, err
}

func (r *fixture) Ack(ctx context.Context, ds ...queue.Delivery) error {
	err := r.Queue.Ack(ctx, ds...)
	if err == nil {
		r.settled <- len(ds)
	}
	return err
}

func (r *fixture) Bury(ctx context.Context, d queue.Delivery, ls ...queue.DeadLetter) error {
	err := r.Queue.Bury(ctx, d, ls...)
	if err == nil {
		r.settled <- 1
	}
	return err
}

func (r *fixture) Retry(ctx context.Context, delay time.Duration, rs ...queue.Retry) error {
	if r.retries != nil {
		r.retries <- rs
	}
	if r.retry != nil {
		if err := r.retry(); err != nil {
			return err
		}
	}
	return r.Queue.Retry(ctx, delay, rs...)
}

func (r *fixture) Save(ctx context.Context, bs ...store.Batch) ([]store.SaveResult, error) {
	r.saves.Add(1)
	if r.save != nil {
		if err := r.save(ctx, bs); err != nil {
			return nil, err
		}
	}
	return r.store.Save(ctx, bs...)
}

func (r *fixture) Saved(ctx context.Context, batchID string) (bool, error) {
	return r.store.Saved(ctx, batchID)
}

// work runs a worker until n messages are settled.
func (r *fixture) work(t *testing.T, n int, d worker.Detector, o worker.Options) worker.MetricsSnapshot {
	t.Helper()
	o.Logger, o.Linger, o.RetryDelay = slog.New(slog.NewTextHandler(r.log, nil)), -1, time.Millisecond
	w := worker.New(r, func() worker.Detector { return d }, r, o)
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for n > 0 {
		select {
		case k := <-r.settled:
			n -= k
		case <-ctx.Done():
			t.Fatalf("%d messages are left; log:\n%s", n, r.log)
		}
	}
	cancel()
	testenv.Check(t, <-ended)
	return w.Metrics()
}

func (r *fixture) enqueue(t *testing.T, b picket.Batch) {
	t.Helper()
	testenv.Check(t, r.Enqueue(t.Context(), queue.Message{ID: b.ID, Events: len(b.Events), Payload: b.Encode(nil)}))
}

// want checks the number of events and matches in the store and of dead letters
// in the queue, which must have no other messages.
func (r *fixture) want(t *testing.T, events, matches, dead int64) {
	t.Helper()
	totals, err := r.store.Totals(t.Context())
	testenv.Check(t, err)
	if totals.Stored != events || totals.Matches != matches {
		t.Errorf("stored %d events and %d matches, want %d and %d", totals.Stored, totals.Matches, events, matches)
	}
	s, err := r.Stats(t.Context())
	testenv.Check(t, err)
	if s.Dead != dead || s.Pending+s.Leased != 0 {
		t.Errorf("%d dead letters, %d pending, %d leased; want only %d dead letters", s.Dead, s.Pending, s.Leased, dead)
	}
}

// A detector returns a match for "evil" events, panics on "panic" and returns an
// error for "bad".
type detector struct{ calls atomic.Int64 }

func (d *detector) Detect(events []picket.Event) ([]picket.Match, error) {
	d.calls.Add(1)
	var ms []picket.Match
	for i := range events {
		e := &events[i]
		e.Fields = []sigma.Field{{Name: "what", Value: sigma.Value{Kind: sigma.String, Text: string(e.Raw)}}}
		switch {
		case bytes.Contains(e.Raw, []byte("evil")):
			ms = append(ms, picket.Match{ID: picket.MatchID("rule", e.Key()), RuleID: "rule", EventID: e.ID, EventNamespace: e.Namespace(), AgentID: e.AgentID,
				Time: e.Time, Title: "Evil", Level: sigma.High, Host: e.Host})
		case bytes.Contains(e.Raw, []byte("panic")):
			panic("cannot look at " + e.ID)
		case bytes.Contains(e.Raw, []byte("bad")):
			return nil, fmt.Errorf("event %s is bad", e.ID)
		}
	}
	return ms, nil
}

// batch makes a batch with n events of each content.
func batch(id string, n int, whats ...string) picket.Batch {
	now := time.Now().UTC().Truncate(time.Microsecond)
	b := picket.Batch{ID: id, Received: now}
	for _, what := range whats {
		for i := range n {
			b.Events = append(b.Events, picket.Event{ID: fmt.Sprintf("%s-%s-%d", id, what, i), Sender: "agent:agent", AgentID: "agent", Host: "host",
				Type: "process", OS: "linux", Time: now, Received: now, Raw: fmt.Appendf(nil, `{"what":%q}`, what)})
		}
	}
	return b
}

func TestWork(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 50 {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 10, "good", "evil"))
	}
	m := r.work(t, 50, new(detector), worker.Options{Concurrency: 2})
	r.want(t, 1000, 500, 0)
	if m.Events != 1000 || m.Matches != 500 || m.Batches != 50 || m.Alerts != 1 || m.Failed != 0 {
		t.Errorf("metrics %+v", m)
	}
	for _, line := range []string{`msg="alert opened"`, "title=Evil level=high host=host", `msg="batches processed"`} {
		if !strings.Contains(r.log.String(), line) {
			t.Errorf("log has no %q:\n%s", line, r.log)
		}
	}
}

// The summaries in the log add up, and no line is logged per batch.
func TestSummaries(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 40 {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 5, "good", "evil"))
	}
	r.enqueue(t, batch("dead", 1, "bad"))
	r.work(t, 41, new(detector), worker.Options{Concurrency: 1, MaxMessages: 1, SummaryInterval: 2 * time.Millisecond})
	var sum [4]int
	lines := 0
	for line := range strings.Lines(r.log.String()) {
		var n [4]int
		_, text, found := strings.Cut(line, `msg="batches processed" `)
		if !found {
			continue
		}
		lines++
		_, err := fmt.Sscanf(text, "batches=%d events=%d duplicates=0 matches=%d dead=%d", &n[0], &n[1], &n[2], &n[3])
		testenv.Check(t, err)
		for i := range sum {
			sum[i] += n[i]
		}
	}
	if want := [4]int{40, 400, 200, 1}; sum != want || lines == 0 {
		t.Errorf("%d summaries add up to %v, want %v", lines, sum, want)
	}
	if strings.Contains(r.log.String(), "batches received") || strings.Contains(r.log.String(), "batches stored") {
		t.Error("batches are logged one by one")
	}
}

// Batches of single events are saved together.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 1000 {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 1, "good"))
	}
	d := new(detector)
	r.work(t, 1000, d, worker.Options{Concurrency: 1, MaxMessages: 200})
	r.want(t, 1000, 0, 0)
	if n := r.saves.Load(); n != 5 {
		t.Errorf("%d saves, want 5", n)
	}
	if n := d.calls.Load(); n != 5 {
		t.Errorf("%d detections, want 5", n)
	}
}

func TestSaveIsBounded(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 10 {
		r.enqueue(t, batch(fmt.Sprintf("b%d", i), 30, "good"))
	}
	r.save = func(_ context.Context, bs []store.Batch) error {
		if len(bs) > 3 {
			t.Errorf("%d batches of 30 events in one save of 100", len(bs))
		}
		return nil
	}
	r.work(t, 10, new(detector), worker.Options{Concurrency: 1, MaxEvents: 100})
	r.want(t, 300, 0, 0)
}

// With the same events in several batches of a group, each match stays with its
// batch and is stored once.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 5 {
		b := batch("b", 3, "evil", "good")
		b.ID = fmt.Sprintf("again%d", i)
		b.Events = append(b.Events, b.Events[0])
		r.enqueue(t, b)
	}
	r.work(t, 5, new(detector), worker.Options{Concurrency: 1})
	r.want(t, 6, 3, 0)
}

// Duplicates with other content are counted and logged, with one example.
func TestConflicts(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for i := range 5 {
		b := batch("b", 2, "good")
		b.ID = fmt.Sprintf("again%d", i)
		b.Events[1].Raw = fmt.Appendf(nil, `{"n":%d}`, i)
		r.enqueue(t, b)
	}
	m := r.work(t, 5, new(detector), worker.Options{Concurrency: 1, MaxMessages: 1})
	r.want(t, 2, 0, 0)
	if m.Duplicates != 8 || m.Conflicting != 4 {
		t.Errorf("%d duplicates, %d conflicting, want 8, 4", m.Duplicates, m.Conflicting)
	}
	const line = `msg="duplicate event with other content left out" event=b-good-1 agent=agent sender=agent:agent`
	if n := strings.Count(r.log.String(), line); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, r.log)
	}
	if !strings.Contains(r.log.String(), "conflicting=4") {
		t.Errorf("the summary lacks the conflicts:\n%s", r.log)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.enqueue(t, batch("a", 1, "good"))
	ctx, cancel := context.WithCancel(t.Context())
	r.save = func(work context.Context, _ []store.Batch) error {
		cancel() // during a save
		return work.Err()
	}
	w := worker.New(r, func() worker.Detector { return new(detector) }, r, worker.Options{Logger: slog.New(slog.DiscardHandler)})
	testenv.Check(t, w.Run(ctx))
	r.want(t, 1, 0, 0)
}

func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.enqueue(t, batch("a", 1, "good"))
	ctx, cancel := context.WithCancel(t.Context())
	r.save = func(work context.Context, _ []store.Batch) error {
		cancel()
		<-work.Done() // a store that hangs
		return work.Err()
	}
	w := worker.New(r, func() worker.Detector { return new(detector) }, r,
		worker.Options{Logger: slog.New(slog.DiscardHandler), DrainTimeout: time.Millisecond})
	testenv.Check(t, w.Run(ctx))
	s, err := r.Stats(t.Context())
	testenv.Check(t, err)
	if s.Pending != 1 {
		t.Errorf("stats %+v, want the message pending", s)
	}
}

func TestHandle(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	w := worker.New(r, func() worker.Detector { return new(detector) }, r, worker.Options{Logger: slog.New(slog.DiscardHandler)})
	b := batch("a", 2, "evil")
	m := queue.Message{ID: b.ID, Events: 2, Payload: b.Encode(nil)}
	testenv.Check(t, w.Handle(t.Context(), m))
	testenv.Check(t, w.Handle(t.Context(), m))
	r.want(t, 2, 2, 0)
	b = batch("b", 2, "good", "panic")
	if err := w.Handle(t.Context(), queue.Message{ID: b.ID, Events: 4, Payload: b.Encode(nil)}); err == nil {
		t.Error("no error of a batch with events that panic")
	}
	r.want(t, 2, 2, 0)
	if err := w.Handle(t.Context(), queue.Message{Payload: []byte("x")}); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}
