package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// A panicError is a panic of a detector or a store, as an error.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// recovered turns a panic into *err. The stack goes to the log alone, once
// for each event and each half that holds it.
func (w *Worker) recovered(doing string, err *error) {
	if v := recover(); v != nil {
		w.log.Error("recovered from a panic", "doing", doing, "panic", v, "stack", string(debug.Stack()))
		*err = fmt.Errorf("%s: %w", doing, &panicError{v})
	}
}

// hopeless reports whether a saver's err is of the data and not of the moment.
func hopeless(err error) bool {
	_, panicked := errors.AsType[*panicError](err)
	return panicked || errors.Is(err, picket.ErrInvalid)
}

// passing reports whether a detector's err may be gone the next time.
func passing(err error) bool {
	return errors.Is(err, picket.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (w *Worker) detect(d Detector, events []picket.Event) (ms []picket.Match, err error) {
	defer w.recovered("detect", &err)
	start := time.Now()
	ms, err = d.Detect(events)
	w.metrics.detectTime.Add(int64(time.Since(start)))
	w.opt.ObserveDetection(time.Since(start))
	if err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	return ms, nil
}

// save stores what is to be stored of g, and logs and counts it.
func (w *Worker) save(ctx context.Context, g *group) (err error) {
	defer w.recovered("save", &err)
	var batches []store.Batch
	for _, h := range g.hands {
		batches = append(batches, h.saves...)
	}
	if len(batches) == 0 {
		return nil
	}
	start := time.Now()
	saved, err := w.s.Save(ctx, batches...)
	if err != nil {
		return fmt.Errorf("save %d batches: %w", len(batches), err)
	}
	took := time.Since(start)
	if w.storeDown.Swap(false) {
		w.log.Info("store available again")
	}
	var sum store.SaveResult
	for _, s := range saved {
		sum.Stored += s.Stored
		sum.Duplicate += s.Duplicate
		sum.Matches += s.Matches
		for _, a := range s.Opened {
			w.log.Info("alert", "alert", a.ID, "rule", a.RuleID, "title", a.Title, "level", a.Level.String(), "host", a.Host)
		}
		w.metrics.alerts.Add(int64(len(s.Opened)))
	}
	w.metrics.batches.Add(int64(len(batches)))
	w.metrics.events.Add(int64(sum.Stored))
	w.metrics.duplicates.Add(int64(sum.Duplicate))
	w.metrics.matches.Add(int64(sum.Matches))
	w.metrics.saveTime.Add(int64(took))
	w.opt.ObserveSaving(took)
	w.log.Info("stored", "batch", batches[0].ID, "batches", len(batches), "events", sum.Stored,
		"duplicates", sum.Duplicate, "matches", sum.Matches, "took", took)
	return nil
}

// settle acks what was saved whole and buries the rest. It keeps trying while
// ctx lasts: a message that is neither would stay leased.
func (w *Worker) settle(ctx context.Context, g *group) {
	var whole []queue.Delivery
	for _, h := range g.hands {
		for i := range h.saves {
			if w.opt.Results != nil {
				w.opt.Results.ReportResult(h.d, h.saves[i].Matches)
			}
		}
		if len(h.letters) == 0 {
			whole = append(whole, h.d)
			continue
		}
		for _, l := range h.letters {
			w.metrics.failed.Add(int64(l.Events))
			w.log.Error("failed", "batch", h.d.ID, "event", l.EventID, "agent", l.AgentID, "events", l.Events, "cause", l.Cause)
		}
		w.insist(ctx, "bury", func() error { return w.q.Bury(ctx, h.d, h.letters...) })
	}
	if len(whole) > 0 {
		w.insist(ctx, "ack", func() error { return w.q.Ack(ctx, whole...) })
	}
}

func (w *Worker) insist(ctx context.Context, doing string, f func() error) {
	for n := 1; ; n++ {
		err := f()
		if err == nil || ctx.Err() != nil {
			return
		}
		if n == 1 {
			w.log.Error("queue does not take the outcome; trying again", "doing", doing, "error", err)
		}
		sleep(ctx, w.delay(n))
	}
}

// retry returns to the queue the deliveries that could not be saved and, after
// the same delay, those received with them that were not tried: at once, they
// would overtake older batches of the same agents.
func (w *Worker) retry(ctx context.Context, failed, untried []queue.Delivery, delay time.Duration, cause error) {
	w.metrics.retries.Add(int64(len(failed)))
	rs := make([]queue.Retry, 0, len(failed)+len(untried))
	for _, d := range failed {
		rs = append(rs, queue.Retry{Delivery: d, Cause: cause})
	}
	for _, d := range untried {
		rs = append(rs, queue.Retry{Delivery: d})
	}
	// Even while stopping: returned now, nothing has to wait for its lease to end.
	if err := w.q.Retry(context.WithoutCancel(ctx), delay, rs...); err != nil {
		w.log.Error("returning messages to queue failed", "messages", len(rs), "error", err)
	}
}

// delay is the time to wait after the nth failure in a row, with jitter so
// that workers do not come back all at once.
func (w *Worker) delay(n int) time.Duration {
	d := w.opt.RetryDelay << min(max(n-1, 0), 6)
	return d/2 + rand.N(d/2+1)
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
