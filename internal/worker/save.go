package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// A panicError is a panic of a detector or a store.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// recoverPanic turns a panic into *err. Only the log gets the stack.
func (w *Worker) recoverPanic(doing string, err *error) {
	if v := recover(); v != nil {
		w.log.Error("recovered from panic", "doing", doing, "panic", v, "stack", string(debug.Stack()))
		*err = fmt.Errorf("%s: %w", doing, &panicError{v})
	}
}

// isPermanent reports whether a store's error was caused by the data itself, so
// that retrying cannot help.
func isPermanent(err error) bool {
	_, panicked := errors.AsType[*panicError](err)
	return panicked || errors.Is(err, picket.ErrInvalid)
}

// saveGroup stores the events of g that can be stored.
func (w *Worker) saveGroup(ctx context.Context, g *deliveryGroup) (err error) {
	defer w.recoverPanic("save", &err)
	var batches []store.Batch
	for _, p := range g.pending {
		batches = append(batches, p.saves...)
	}
	if len(batches) == 0 {
		return nil
	}
	start := time.Now()
	results, err := w.s.Save(ctx, batches...)
	if err != nil {
		return fmt.Errorf("save %d batches: %w", len(batches), err)
	}
	took := time.Since(start)
	if w.storeDown.Swap(false) {
		w.log.Info("store available again")
	}
	var sum store.SaveResult
	conflicting := 0
	for i, r := range results {
		conflicting += len(r.Conflicting)
		if len(r.Conflicting) > 0 {
			w.warnOfConflict(&batches[i].Events[r.Conflicting[0]])
		}
		sum.Stored += r.Stored
		sum.Duplicate += r.Duplicate
		sum.Matches += r.Matches
		for _, a := range r.Opened {
			w.log.Info("alert opened", "alert", a.ID, "rule", a.RuleID, "title", a.Title, "level", a.Level.String(), "host", a.Host)
		}
		w.metrics.alerts.Add(int64(len(r.Opened)))
	}
	w.metrics.batches.Add(int64(len(batches)))
	w.metrics.events.Add(int64(sum.Stored))
	w.metrics.duplicates.Add(int64(sum.Duplicate))
	w.metrics.conflicting.Add(int64(conflicting))
	w.metrics.matches.Add(int64(sum.Matches))
	w.metrics.saveTime.Add(int64(took))
	w.opt.ObserveSaving(took)
	w.log.Debug("batches stored", "batch", batches[0].ID, "batches", len(batches), "events", sum.Stored,
		"duplicates", sum.Duplicate, "matches", sum.Matches, "took", took)
	return nil
}

// warnOfConflict logs that an event was left out because another with its identity and
// other bytes is stored, at most once per summary interval. The summaries have the
// numbers.
func (w *Worker) warnOfConflict(ev *picket.Event) {
	now := time.Now().UnixNano()
	last := w.conflictWarned.Load()
	if last != 0 && now-last < int64(w.opt.SummaryInterval) || !w.conflictWarned.CompareAndSwap(last, now) {
		return
	}
	w.log.Warn("duplicate event with other content left out", "event", ev.ID, "agent", ev.AgentID, "sender", ev.Sender)
}

// isolateSaveFailures stores ever smaller parts of a batch to find the events that cannot
// be stored, which become dead letters.
func (w *Worker) isolateSaveFailures(ctx context.Context, p *pendingDelivery) error {
	for _, b := range p.saves {
		matches := make([][]picket.Match, len(b.Events))
		for i, ms := range picket.MatchesByEvent(b.Events, b.Matches) {
			matches[i] = ms
		}
		err := bisect(0, len(b.Events), func(from, to int) error {
			part := store.Batch{ID: fmt.Sprintf("%s.of-%s", b.ID, b.Events[from].Key()), Events: b.Events[from:to]}
			if to-from > 1 {
				part.ID = fmt.Sprintf("%s.to-%s", part.ID, b.Events[to-1].Key())
			}
			for _, ms := range matches[from:to] {
				part.Matches = append(part.Matches, ms...)
			}
			return w.saveGroup(ctx, &deliveryGroup{pending: []*pendingDelivery{{delivery: p.delivery, saves: []store.Batch{part}}}, events: to - from})
		}, func(i int, err error) {
			whole := picket.Batch{ID: b.ID, Received: p.batch.Received, Events: b.Events}
			p.deadLetters = append(p.deadLetters, newDeadLetter(&whole, i, err))
		}, func(err error) bool { return !isPermanent(err) })
		if err != nil {
			return err
		}
	}
	return nil
}
