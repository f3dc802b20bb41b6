// Package worker is the loop behind the queue: receive batches, detect on
// their events, save both, and only then ack.
//
// Promise: an accepted event is stored or becomes a dead letter with its
// cause. A store that is away is waited for. An event that detection cannot
// process is cut out of its batch, and the rest is saved.
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
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// A Detector finds matches. It is used by one goroutine at a time.
type Detector interface {
	// Detect fills the events' Fields and returns their matches, in the order
	// of events. After an error or a panic it is called again with parts of
	// the same events. An error that is picket.ErrUnavailable says that the
	// same call may succeed later.
	Detect(events []picket.Event) ([]picket.Match, error)
}

// A Saver stores what a Detector leaves; see store.Events.
type Saver interface {
	Save(ctx context.Context, batches ...store.Batch) ([]store.SaveResult, error)
}

// Options tune a worker. The zero value is ready to use.
type Options struct {
	// Concurrency is how many goroutines work, each with a detector; 0 means
	// one a core.
	Concurrency int
	// MaxMessages bounds one Receive; 0 means 512.
	MaxMessages int
	// MaxEvents and MaxBytes (of events as received) bound one Save;
	// 0 means 4,096 and 8 MiB. A batch that is larger is saved alone.
	MaxEvents, MaxBytes int
	// Linger is how long a goroutine waits after a round of few events, so
	// that single events gather into a batch; 0 means 20 ms, below 0 none.
	Linger time.Duration
	// RetryDelay is the first delay after a failure of the store. It doubles
	// up to 64 times as much; 0 means 500 ms.
	RetryDelay time.Duration
	// DrainTimeout bounds how long Run goes on with what it has in hand when
	// its context ends; 0 means 10 s.
	DrainTimeout time.Duration
	// Results, if any, is told what was detected in events once they are stored.
	Results queue.ResultReporter
	// ObserveQueueWait, ObserveDetection and ObserveSaving are called with the
	// time that a delivery waited in the queue, and that each run of the
	// detector and each save took; nil means nothing is observed.
	ObserveQueueWait, ObserveDetection, ObserveSaving func(time.Duration)
	// Logger hears of batches, alerts and failures; nil means slog.Default.
	Logger *slog.Logger
}

// fewEvents is a round after which a goroutine lingers.
const fewEvents = 256

func (o Options) withDefaults() Options {
	o.Concurrency = cmp.Or(o.Concurrency, runtime.GOMAXPROCS(0))
	o.MaxMessages = cmp.Or(o.MaxMessages, 512)
	o.MaxEvents = cmp.Or(o.MaxEvents, 4096)
	o.MaxBytes = cmp.Or(o.MaxBytes, 8<<20)
	o.Linger = cmp.Or(o.Linger, 20*time.Millisecond)
	o.RetryDelay = cmp.Or(o.RetryDelay, 500*time.Millisecond)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	for _, observe := range []*func(time.Duration){&o.ObserveQueueWait, &o.ObserveDetection, &o.ObserveSaving} {
		if *observe == nil {
			*observe = func(time.Duration) {}
		}
	}
	return o
}

// A Worker works off a queue.
type Worker struct {
	q         queue.Queue
	s         Saver
	opt       Options
	log       *slog.Logger
	metrics   metrics
	detectors sync.Pool // of Detector, for Handle

	newDetector func() Detector
	queueDown   atomic.Bool  // the last Receive failed, and that was logged
	storeDown   atomic.Bool  // likewise the last Save
	size        atomic.Int64 // how many goroutines are to work
	resized     chan struct{}
	// large lets one batch that is larger than MaxBytes be worked on at a
	// time: each takes several times its size in memory.
	large sync.Mutex
}

// New makes a worker. It calls newDetector once for each of its goroutines.
func New(q queue.Queue, newDetector func() Detector, s Saver, o Options) *Worker {
	w := &Worker{q: q, s: s, opt: o.withDefaults(), newDetector: newDetector, resized: make(chan struct{}, 1)}
	w.log = w.opt.Logger
	w.size.Store(int64(w.opt.Concurrency))
	w.detectors.New = func() any { return newDetector() }
	return w
}

// Run works until ctx ends. Then it receives no more, finishes what it has in
// hand within Options.DrainTimeout, and returns; what it could not finish is
// for the queue to deliver again.
func (w *Worker) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(w.opt.DrainTimeout, cancel)
		context.AfterFunc(work, func() { t.Stop() })
	})
	defer stop()
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
			wg.Go(func() { w.loop(receive, work) })
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

// Concurrency is how many goroutines work, or are to.
func (w *Worker) Concurrency() int { return int(w.size.Load()) }

// Resize changes how many goroutines work. One that is no longer wanted
// finishes what it has in hand.
func (w *Worker) Resize(n int) {
	w.size.Store(int64(max(n, 1)))
	select {
	case w.resized <- struct{}{}:
	default:
	}
}

// loop receives while ctx lasts, and works while work does.
func (w *Worker) loop(ctx, work context.Context) {
	d := w.newDetector()
	failures := 0 // of the queue or the store, in a row
	for ctx.Err() == nil {
		ds, err := w.q.Receive(ctx, w.opt.MaxMessages)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if !w.queueDown.Swap(true) {
				w.log.Error("queue unavailable; trying again", "error", err)
			}
			failures++
			sleep(ctx, w.delay(failures))
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
		if w.round(work, d, ds, w.delay(failures+1)) {
			failures = 0
			if events < fewEvents {
				sleep(ctx, w.opt.Linger)
			}
			continue
		}
		failures++
		sleep(ctx, w.delay(failures))
	}
}

// round works off what one Receive gave, a group at a time. It reports false
// when the store failed; the deliveries that were not saved then come again
// after delay.
func (w *Worker) round(ctx context.Context, d Detector, ds []queue.Delivery, delay time.Duration) bool {
	for len(ds) > 0 {
		var g group
		ds = w.fill(&g, ds)
		if err := w.process(ctx, d, &g); err != nil {
			if ctx.Err() == nil && !w.storeDown.Swap(true) {
				w.log.Warn("store unavailable; trying again until it is back", "error", err)
			}
			w.retry(ctx, g.deliveries(), ds, delay, err)
			w.done(&g)
			return false
		}
		w.settle(ctx, &g)
		w.done(&g)
	}
	return true
}

// Handle does one message at once, for an intake that detects before it
// answers. It does all of it or nothing: on an error nothing was saved, and
// the caller can enqueue m, to have its bad events cut out by Run.
func (w *Worker) Handle(ctx context.Context, m queue.Message) error {
	d := w.detectors.Get().(Detector)
	defer w.detectors.Put(d)
	b, err := picket.DecodeBatch(m.Payload)
	if err != nil {
		return err
	}
	matches, err := w.detect(d, b.Events)
	if err != nil {
		return err
	}
	g := group{hands: []*hand{{batch: b, saves: []store.Batch{{ID: b.ID, Events: b.Events, Matches: matches}}}}}
	return w.save(ctx, &g)
}
