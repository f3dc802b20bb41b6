package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// detect runs the detector on all events.
func (w *Worker) detect(d Detector, events []picket.Event) ([]picket.Match, error) {
	defer w.observeDetection(time.Now())
	return w.runDetector(d, events)
}

// detectPrefix runs the detector on events, until one fails or there are too many
// matches. It returns the matches of the first n events.
func (w *Worker) detectPrefix(d Detector, events []picket.Event) (matches []picket.Match, n int, err error) {
	defer w.observeDetection(time.Now())
	for n = len(events); n > 0; n /= 2 {
		if matches, err = w.runDetector(d, events[:n]); err == nil || isTransient(err) {
			break
		}
	}
	return matches, n, err
}

func (w *Worker) observeDetection(start time.Time) {
	took := time.Since(start)
	w.metrics.detectTime.Add(int64(took))
	w.opt.ObserveDetection(took)
}

// runDetector calls the detector. A panic becomes an error.
func (w *Worker) runDetector(d Detector, events []picket.Event) (ms []picket.Match, err error) {
	defer w.recoverPanic("detect", &err)
	if ms, err = d.Detect(events); err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	return ms, nil
}

// isTransient reports whether a detector's error is temporary.
func isTransient(err error) bool {
	return errors.Is(err, picket.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// detectGroup runs detection on all events of g or, if that fails, on each batch.
// Events that detection fails on become dead letters. If there are too many matches,
// it returns picket.ErrTooManyMatches.
func (w *Worker) detectGroup(d Detector, g *deliveryGroup) error {
	if g.events == 0 {
		return nil
	}
	all := g.pending[0].batch.Events
	if len(g.pending) > 1 {
		all = make([]picket.Event, 0, g.events)
		for _, p := range g.pending {
			all = append(all, p.batch.Events...)
		}
	}
	matches, err := w.detect(d, all)
	switch {
	case err == nil:
		g.splitByBatch(all, matches)
		return nil
	case isTransient(err), errors.Is(err, picket.ErrTooManyMatches):
		return err
	}
	for _, p := range g.pending {
		if err := w.isolateDetectFailures(d, p); err != nil {
			return err
		}
	}
	return nil
}

// splitByBatch divides the events of all batches, which have their Fields now, and
// their matches among the batches.
func (g *deliveryGroup) splitByBatch(all []picket.Event, matches []picket.Match) {
	counts := make([]int, len(g.pending)) // of matches
	at, end := 0, len(g.pending[0].batch.Events)
	for i, ms := range picket.MatchesByEvent(all, matches) {
		for i >= end {
			at++
			end += len(g.pending[at].batch.Events)
		}
		counts[at] += len(ms)
	}
	for i, p := range g.pending {
		n, m := len(p.batch.Events), counts[i]
		if n > 0 {
			p.batch.Events = all[:n:n]
			p.saves = []store.Batch{{ID: p.batch.ID, Events: all[:n:n], Matches: matches[:m:m]}}
		}
		all, matches = all[n:], matches[m:]
	}
}

// isolateDetectFailures runs detection on ever smaller parts of a batch to find the
// events that it fails on, which become dead letters.
func (w *Worker) isolateDetectFailures(d Detector, p *pendingDelivery) error {
	events := p.batch.Events
	if len(events) == 0 {
		return nil
	}
	var good []picket.Event
	var matches []picket.Match
	var failed []int
	err := bisect(0, len(events), func(from, to int) error {
		ms, err := w.detect(d, events[from:to])
		if err == nil {
			good, matches = append(good, events[from:to]...), append(matches, ms...)
		}
		return err
	}, func(i int, err error) {
		failed = append(failed, i)
		p.deadLetters = append(p.deadLetters, newDeadLetter(&p.batch, i, err))
	}, func(err error) bool { return isTransient(err) || errors.Is(err, picket.ErrTooManyMatches) })
	if err == nil && len(good) > 0 {
		p.saves = []store.Batch{{ID: batchIDWithout(p.batch.ID, failed), Events: good, Matches: matches}}
	}
	return err
}
