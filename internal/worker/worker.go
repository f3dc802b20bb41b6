// Package worker receives batches from the queue, runs detection on their
// events, saves events and matches, and only then acks the batches.
//
// Each accepted event is stored or becomes a dead letter with the cause. While
// the store is unavailable, the worker retries. If detection fails on an event,
// that event becomes a dead letter and the rest of its batch is saved.
package worker

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// A Detector finds matches. It is used by one goroutine at a time.
type Detector interface {
	// Detect sets the events' Fields and returns their matches, in the order of
	// events. After an error or a panic, it is called again with parts of the
	// same events. An error that is picket.ErrUnavailable is temporary: the same
	// call may succeed later. It is picket.ErrTooManyMatches if the matches of
	// several events would take too much memory.
	Detect(events []picket.Event) ([]picket.Match, error)
}

// A Saver stores events and their matches; see store.Events.
type Saver interface {
	Saved(ctx context.Context, batchID string) (bool, error)
	Save(ctx context.Context, batches ...store.Batch) ([]store.SaveResult, error)
}

// Options configure a worker. The zero value is ready to use.
type Options struct {
	// Concurrency is the number of goroutines, each with its own detector; 0
	// means one per core.
	Concurrency int
	// MaxMessages bounds one Receive; 0 means 512.
	MaxMessages int
	// MaxEvents and MaxBytes (of events as received) bound one Save; 0 means
	// 4,096 and 8 MiB. A larger batch is saved by itself.
	MaxEvents, MaxBytes int
	// MaxMemoryBytes bounds the memory that the fields of the events of one Save take, in
	// bytes, by an estimate; 0 means 32 MiB. A larger batch is processed in parts.
	MaxMemoryBytes int
	// Linger is how long a goroutine waits after receiving only a few events, so
	// that more gather for one Save; 0 means 20 ms, a negative value disables it.
	Linger time.Duration
	// RetryDelay is the first delay after a failure. It doubles up to 64 times
	// as much; 0 means 500 ms.
	RetryDelay time.Duration
	// DrainTimeout bounds how long Run continues with received batches after its
	// context ended; 0 means 10 s.
	DrainTimeout time.Duration
	// SummaryInterval is how often the number of processed batches is logged; 0
	// means a minute.
	SummaryInterval time.Duration
	// Results, if not nil, gets the matches of batches that are stored.
	Results queue.ResultReporter
	// ObserveQueueWait, ObserveDetection and ObserveSaving are called with the
	// time that a delivery waited in the queue, and that each run of the
	// detector and each save took; nil means nothing is observed.
	ObserveQueueWait, ObserveDetection, ObserveSaving func(time.Duration)
	Logger                                            *slog.Logger // nil means slog.Default
}

// A goroutine lingers after receiving less than lingerBelowEvents.
const lingerBelowEvents = 256

func (o Options) withDefaults() Options {
	o.Concurrency = cmp.Or(o.Concurrency, runtime.GOMAXPROCS(0))
	o.MaxMessages = cmp.Or(o.MaxMessages, 512)
	o.MaxEvents = cmp.Or(o.MaxEvents, 4096)
	o.MaxBytes = cmp.Or(o.MaxBytes, 8<<20)
	o.MaxMemoryBytes = cmp.Or(o.MaxMemoryBytes, 32<<20)
	o.Linger = cmp.Or(o.Linger, 20*time.Millisecond)
	o.RetryDelay = cmp.Or(o.RetryDelay, 500*time.Millisecond)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
	o.SummaryInterval = cmp.Or(o.SummaryInterval, time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	for _, observe := range []*func(time.Duration){&o.ObserveQueueWait, &o.ObserveDetection, &o.ObserveSaving} {
		if *observe == nil {
			*observe = func(time.Duration) {}
		}
	}
	return o
}

// A Worker processes the batches of a queue.
type Worker struct {
	q         queue.Queue
	s         Saver
	opt       Options
	log       *slog.Logger
	backoff   backoff.Policy
	metrics   metrics
	detectors sync.Pool // of Detector, for Handle

	newDetector func() Detector
	queueDown   atomic.Bool   // the last Receive failed, and that was logged
	storeDown   atomic.Bool   // the last Save failed, and that was logged
	concurrency atomic.Int64  // how many goroutines should run
	resized     chan struct{} // capacity 1
	// conflictWarned is when warnOfConflict last logged, in nanoseconds.
	conflictWarned atomic.Int64
	// large is held while a batch larger than MaxBytes or MaxMemoryBytes is processed, one
	// at a time, because each needs several times its size in memory.
	large sync.Mutex
}

// New makes a worker. It calls newDetector for each goroutine.
func New(q queue.Queue, newDetector func() Detector, s Saver, o Options) *Worker {
	w := &Worker{q: q, s: s, opt: o.withDefaults(), newDetector: newDetector, resized: make(chan struct{}, 1)}
	w.log = w.opt.Logger
	w.backoff = backoff.Policy{First: w.opt.RetryDelay, Max: 64 * w.opt.RetryDelay}
	w.concurrency.Store(int64(w.opt.Concurrency))
	w.detectors.New = func() any { return newDetector() }
	return w
}

// Run processes batches until ctx ends. Then it stops receiving, finishes the
// batches that it has received within Options.DrainTimeout, and returns. The
// queue delivers unfinished batches again.
func (w *Worker) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(w.opt.DrainTimeout, cancel)
		context.AfterFunc(work, func() { t.Stop() })
	})
	defer stop()
	defer w.startSummaryLog()()
	var wg sync.WaitGroup
	defer wg.Wait()
	var loops []context.CancelFunc
	for {
		for n := w.Concurrency(); len(loops) != n; {
			if len(loops) > n {
				loops[len(loops)-1]()
				loops = loops[:len(loops)-1]
				continue
			}
			receive, end := context.WithCancel(ctx)
			loops = append(loops, end)
			wg.Go(func() { w.receiveLoop(receive, work) })
		}
		select {
		case <-ctx.Done():
			for _, end := range loops {
				end()
			}
			return nil
		case <-w.resized:
		}
	}
}

// Concurrency returns the number of goroutines, after the last Resize.
func (w *Worker) Concurrency() int { return int(w.concurrency.Load()) }

// Resize changes the number of goroutines, to at least one. Those that are no
// longer needed finish the batches that they have received.
func (w *Worker) Resize(goroutines int) {
	w.concurrency.Store(int64(max(goroutines, 1)))
	select {
	case w.resized <- struct{}{}:
	default:
	}
}

// receiveLoop receives until ctx ends, and processes what it received until processCtx ends.
func (w *Worker) receiveLoop(ctx, processCtx context.Context) {
	d := w.newDetector()
	failures := 0 // of the queue or the store, in a row
	for ctx.Err() == nil {
		ds, err := w.q.Receive(ctx, w.opt.MaxMessages)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if !w.queueDown.Swap(true) {
				w.log.Error("queue unavailable; retrying", "error", err)
			}
			failures++
			w.backoff.Wait(ctx, failures)
			continue
		}
		if w.queueDown.Swap(false) {
			w.log.Info("queue available again")
		}
		events := 0
		for _, d := range ds {
			events += d.Events
			w.opt.ObserveQueueWait(time.Since(d.Enqueued))
		}
		if !w.processDeliveries(processCtx, d, ds, failures+1) {
			failures++
			w.backoff.Wait(ctx, failures)
			continue
		}
		failures = 0
		if events < lingerBelowEvents {
			backoff.Sleep(ctx, w.opt.Linger)
		}
	}
}
