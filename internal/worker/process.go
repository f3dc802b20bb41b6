package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// A deliveryGroup is the deliveries that are saved together.
type deliveryGroup struct {
	pending     []*pendingDelivery
	events      int
	bytes       int
	memoryBytes int
	large       bool // holds Worker.large
}

// A pendingDelivery is a delivery that is being processed.
type pendingDelivery struct {
	delivery    queue.Delivery
	batch       picket.Batch
	saves       []store.Batch      // the events that can be stored: one batch or none
	deadLetters []queue.DeadLetter // the events that cannot
	inParts     bool               // it was saved in parts; matches are theirs, to be reported
	matches     []picket.Match
}

// processDeliveries processes the deliveries of one Receive, in groups. It
// returns false if the store or the detector was unavailable; the deliveries that
// were not saved are then returned to the queue, with a delay that grows with attempt.
func (w *Worker) processDeliveries(ctx context.Context, d Detector, ds []queue.Delivery, attempt int) (allSaved bool) {
	for len(ds) > 0 {
		var g deliveryGroup
		ds = w.fillGroup(&g, ds)
		err := w.detectAndSaveGroup(ctx, d, &g)
		if err == nil {
			w.settle(ctx, &g)
		} else {
			if ctx.Err() == nil && !w.storeDown.Swap(true) {
				w.log.Warn("store unavailable; retrying", "error", err)
			}
			w.returnToQueue(ctx, g.deliveries(), ds, w.backoff.Delay(attempt), err)
		}
		w.releaseLargeLock(&g)
		if err != nil {
			return false
		}
	}
	return true
}

// fillGroup decodes deliveries into g until it is full, and returns the rest.
func (w *Worker) fillGroup(g *deliveryGroup, ds []queue.Delivery) (rest []queue.Delivery) {
	for i, d := range ds {
		large := picket.DecodedBytes(d.Payload) > w.opt.MaxBytes
		if len(g.pending) > 0 && (large || g.events+d.Events > w.opt.MaxEvents) {
			return ds[i:]
		}
		if large {
			w.large.Lock()
			g.large = true
		}
		p := &pendingDelivery{delivery: d}
		if d.Lost >= queue.MaxLost { // decoding it may be what kills
			g.pending = append(g.pending, p)
			continue
		}
		b, err := picket.DecodeBatch(d.Payload)
		if err != nil {
			p.deadLetters = []queue.DeadLetter{{Reason: queue.Failed, Cause: err.Error(), Events: d.Events, Time: time.Now(), Payload: d.Payload}}
		}
		p.batch = b
		bytes, cost := 0, 0
		for j := range b.Events {
			bytes += len(b.Events[j].Raw)
			cost += eventMemoryBytes(b.Events[j].Raw)
		}
		if len(g.pending) > 0 && g.memoryBytes+cost > w.opt.MaxMemoryBytes {
			return ds[i:]
		}
		g.pending = append(g.pending, p)
		g.events += len(b.Events)
		g.bytes += bytes
		g.memoryBytes += cost
		if g.bytes >= w.opt.MaxBytes || g.events >= w.opt.MaxEvents {
			return ds[i+1:]
		}
	}
	return nil
}

// releaseLargeLock must be called when g has been processed.
func (w *Worker) releaseLargeLock(g *deliveryGroup) {
	if g.large {
		w.large.Unlock()
	}
}

func (g *deliveryGroup) deliveries() []queue.Delivery {
	ds := make([]queue.Delivery, len(g.pending))
	for i, p := range g.pending {
		ds[i] = p.delivery
	}
	return ds
}

// detectAndSaveGroup runs detection on g and saves it. Its errors are temporary.
func (w *Worker) detectAndSaveGroup(ctx context.Context, d Detector, g *deliveryGroup) error {
	w.log.Debug("batches received", "batch", g.pending[0].delivery.ID, "batches", len(g.pending), "events", g.events)
	if err := w.buryLost(ctx, g); err != nil {
		return err
	}
	if g.memoryBytes > w.opt.MaxMemoryBytes {
		return w.processInParts(ctx, d, g)
	}
	err := w.detectGroup(d, g)
	if errors.Is(err, picket.ErrTooManyMatches) {
		return w.processInParts(ctx, d, g)
	}
	if err != nil {
		return err
	}
	err = w.saveGroup(ctx, g)
	if err == nil || !isPermanent(err) {
		return err
	}
	// At least one event cannot be stored. Save each batch by itself, and find
	// the event in those that fail.
	for _, p := range g.pending {
		if err := w.savePending(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// savePending saves one batch. Events that cannot be stored become dead letters.
func (w *Worker) savePending(ctx context.Context, p *pendingDelivery) error {
	err := w.saveGroup(ctx, &deliveryGroup{pending: []*pendingDelivery{p}, events: len(p.batch.Events)})
	if err != nil && isPermanent(err) {
		err = w.isolateSaveFailures(ctx, p)
	}
	return err
}

// buryLost makes dead letters of the deliveries that were lost too often. Those
// whose events were saved before the worker was lost are complete.
func (w *Worker) buryLost(ctx context.Context, g *deliveryGroup) error {
	for _, p := range g.pending {
		if p.delivery.Lost < queue.MaxLost {
			continue
		}
		saved, err := w.s.Saved(ctx, p.delivery.ID)
		if err != nil {
			return fmt.Errorf("look up batch %s: %w", p.delivery.ID, err)
		}
		if !saved {
			p.deadLetters = []queue.DeadLetter{queue.LostDeadLetter(p.delivery)}
		}
	}
	return nil
}

// Handle processes one message before intake answers its sender. It saves
// either all of it or nothing: after an error the caller can leave m to Run,
// which isolates the events that fail, and works large batches in parts.
func (w *Worker) Handle(ctx context.Context, m queue.Message) error {
	d := w.detectors.Get().(Detector)
	defer w.detectors.Put(d)
	b, err := picket.DecodeBatch(m.Payload)
	if err != nil {
		return err
	}
	cost := 0
	for i := range b.Events {
		cost += eventMemoryBytes(b.Events[i].Raw)
	}
	if cost > w.opt.MaxMemoryBytes {
		return fmt.Errorf("batch %s takes %d bytes of memory, more than %d", b.ID, cost, w.opt.MaxMemoryBytes)
	}
	matches, err := w.detect(d, b.Events)
	if err != nil {
		return err
	}
	g := deliveryGroup{pending: []*pendingDelivery{{batch: b, saves: []store.Batch{{ID: b.ID, Events: b.Events, Matches: matches}}}}}
	return w.saveGroup(ctx, &g)
}
