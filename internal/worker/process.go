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

// A group is the deliveries that are saved together.
type group struct {
	pending []*pending
	events  int
	bytes   int
	cost    int
	large   bool // holds Worker.large
}

// A pending delivery is being processed.
type pending struct {
	delivery    queue.Delivery
	batch       picket.Batch
	saves       []store.Batch      // the events that can be stored: one batch or none
	deadLetters []queue.DeadLetter // the events that cannot
	inParts     bool               // it was saved in parts; matches are theirs, to be reported
	matches     []picket.Match
}

// processDeliveries processes the deliveries of one Receive, in groups. It
// returns false if the store or the detector was unavailable, the nth time in a
// row; the deliveries that were not saved are then returned to the queue.
func (w *Worker) processDeliveries(ctx context.Context, d Detector, ds []queue.Delivery, n int) bool {
	for len(ds) > 0 {
		var g group
		ds = w.nextGroup(&g, ds)
		err := w.process(ctx, d, &g)
		if err == nil {
			w.settle(ctx, &g)
		} else {
			if ctx.Err() == nil && !w.storeDown.Swap(true) {
				w.log.Warn("store unavailable; retrying", "error", err)
			}
			w.returnToQueue(ctx, g.deliveries(), ds, w.backoff.Delay(n), err)
		}
		w.release(&g)
		if err != nil {
			return false
		}
	}
	return true
}

// nextGroup decodes deliveries into g until it is full, and returns the rest.
func (w *Worker) nextGroup(g *group, ds []queue.Delivery) []queue.Delivery {
	for i, d := range ds {
		large := picket.DecodedBytes(d.Payload) > w.opt.MaxBytes
		if len(g.pending) > 0 && (large || g.events+d.Events > w.opt.MaxEvents) {
			return ds[i:]
		}
		if large {
			w.large.Lock()
			g.large = true
		}
		p := &pending{delivery: d}
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
			cost += eventCost(b.Events[j].Raw)
		}
		if len(g.pending) > 0 && g.cost+cost > w.opt.MaxCost {
			return ds[i:]
		}
		g.pending = append(g.pending, p)
		g.events += len(b.Events)
		g.bytes += bytes
		g.cost += cost
		if g.bytes >= w.opt.MaxBytes || g.events >= w.opt.MaxEvents {
			return ds[i+1:]
		}
	}
	return nil
}

// release must be called when g has been processed.
func (w *Worker) release(g *group) {
	if g.large {
		w.large.Unlock()
	}
}

func (g *group) deliveries() []queue.Delivery {
	ds := make([]queue.Delivery, len(g.pending))
	for i, p := range g.pending {
		ds[i] = p.delivery
	}
	return ds
}

// process runs detection on g and saves it. Its errors are temporary.
func (w *Worker) process(ctx context.Context, d Detector, g *group) error {
	w.log.Debug("batches received", "batch", g.pending[0].delivery.ID, "batches", len(g.pending), "events", g.events)
	if err := w.buryLost(ctx, g); err != nil {
		return err
	}
	if g.cost > w.opt.MaxCost {
		return w.processInParts(ctx, d, g)
	}
	err := w.detectGroup(d, g)
	if errors.Is(err, picket.ErrTooManyMatches) {
		return w.processInParts(ctx, d, g)
	}
	if err != nil {
		return err
	}
	err = w.save(ctx, g)
	if err == nil || !isPermanent(err) {
		return err
	}
	// At least one event cannot be stored. Save each batch by itself, and find
	// the event in those that fail.
	for _, p := range g.pending {
		if err := w.saveOne(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// saveOne saves one batch. Events that cannot be stored become dead letters.
func (w *Worker) saveOne(ctx context.Context, p *pending) error {
	err := w.save(ctx, &group{pending: []*pending{p}, events: len(p.batch.Events)})
	if err != nil && isPermanent(err) {
		err = w.saveParts(ctx, p)
	}
	return err
}

// buryLost makes dead letters of the deliveries that were lost too often. Those
// whose events were saved before the worker was lost are complete.
func (w *Worker) buryLost(ctx context.Context, g *group) error {
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
		cost += eventCost(b.Events[i].Raw)
	}
	if cost > w.opt.MaxCost {
		return fmt.Errorf("batch %s takes %d bytes of memory, more than %d", b.ID, cost, w.opt.MaxCost)
	}
	matches, err := w.detect(d, b.Events)
	if err != nil {
		return err
	}
	g := group{pending: []*pending{{batch: b, saves: []store.Batch{{ID: b.ID, Events: b.Events, Matches: matches}}}}}
	return w.save(ctx, &g)
}
