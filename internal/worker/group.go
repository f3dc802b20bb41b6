package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// A group is the deliveries that are saved at once.
type group struct {
	hands  []*hand
	events int
	bytes  int
	large  bool // holds Worker.large
}

// A hand is one delivery in hand.
type hand struct {
	d       queue.Delivery
	batch   picket.Batch
	saves   []store.Batch      // what is to be stored of it: one, or none
	letters []queue.DeadLetter // what cannot be
}

// done is called when g is no longer in hand.
func (w *Worker) done(g *group) {
	if g.large {
		w.large.Unlock()
	}
}

func (g *group) deliveries() []queue.Delivery {
	ds := make([]queue.Delivery, len(g.hands))
	for i, h := range g.hands {
		ds[i] = h.d
	}
	return ds
}

// fill decodes deliveries into g until it is full, and returns the rest.
func (w *Worker) fill(g *group, ds []queue.Delivery) []queue.Delivery {
	for i, d := range ds {
		large := picket.EncodedSize(d.Payload) > w.opt.MaxBytes
		if len(g.hands) > 0 && (large || g.events+d.Events > w.opt.MaxEvents) {
			return ds[i:]
		}
		if large {
			w.large.Lock()
			g.large = true
		}
		h := &hand{d: d}
		b, err := picket.DecodeBatch(d.Payload)
		if err != nil {
			h.letters = []queue.DeadLetter{{Reason: queue.Failed, Cause: err.Error(), Events: d.Events, Time: time.Now(), Payload: d.Payload}}
		}
		h.batch = b
		g.hands = append(g.hands, h)
		g.events += len(b.Events)
		for j := range b.Events {
			g.bytes += len(b.Events[j].Raw)
		}
		if g.bytes >= w.opt.MaxBytes || g.events >= w.opt.MaxEvents {
			return ds[i+1:]
		}
	}
	return nil
}

// process detects on g and saves it. Its errors are such that the same may
// succeed later.
func (w *Worker) process(ctx context.Context, d Detector, g *group) error {
	agent := ""
	for _, h := range g.hands {
		if len(h.batch.Events) > 0 && agent == "" {
			agent = h.batch.Events[0].AgentID
		}
	}
	w.log.Info("received", "batch", g.hands[0].d.ID, "batches", len(g.hands), "events", g.events, "agent", agent)
	if err := w.examine(d, g); err != nil {
		return err
	}
	err := w.save(ctx, g)
	if err == nil || !hopeless(err) {
		return err
	}
	// One event of the group cannot be stored. Each batch is tried alone, and
	// where that fails, cut down to the event.
	for _, h := range g.hands {
		one := &group{hands: []*hand{h}, events: len(h.batch.Events)}
		err := w.save(ctx, one)
		if err != nil && hopeless(err) {
			err = w.saveParts(ctx, h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// examine detects on all events of g at once, and where that fails on each
// batch. Events that detection cannot process become letters.
func (w *Worker) examine(d Detector, g *group) error {
	if g.events == 0 {
		return nil
	}
	all := g.hands[0].batch.Events
	if len(g.hands) > 1 {
		all = make([]picket.Event, 0, g.events)
		for _, h := range g.hands {
			all = append(all, h.batch.Events...)
		}
	}
	matches, err := w.detect(d, all)
	if err != nil && passing(err) {
		return err
	}
	for _, h := range g.hands {
		n := len(h.batch.Events)
		if n == 0 {
			continue
		}
		if err != nil {
			if err := w.cut(d, h); err != nil {
				return err
			}
			continue
		}
		h.batch.Events, all = all[:n:n], all[n:]
		var mine []picket.Match
		mine, matches = split(h.batch.Events, matches)
		h.saves = []store.Batch{{ID: h.batch.ID, Events: h.batch.Events, Matches: mine}}
	}
	return nil
}

// split cuts from matches, which are in the order of events, those of events.
// An id may occur twice among the events of many batches; a rule that fired
// again on an id fired on the next event of that id.
func split(events []picket.Event, matches []picket.Match) (of, rest []picket.Match) {
	n, at, first := 0, 0, 0 // matches[first:n] are of events[at]
	for ; n < len(matches); n++ {
		m := &matches[n]
		again := slices.ContainsFunc(matches[first:n], func(o picket.Match) bool { return o.ID == m.ID })
		if !again && events[at].ID == m.EventID {
			continue
		}
		next := at + 1
		for next < len(events) && events[next].ID != m.EventID {
			next++
		}
		if next == len(events) {
			break
		}
		at, first = next, n
	}
	return matches[:n:n], matches[n:]
}

// cut detects on h's events down to those that fail.
func (w *Worker) cut(d Detector, h *hand) error {
	var good []picket.Event
	var matches []picket.Match
	var bad []int
	err := bisect(h.batch.Events, 0, func(events []picket.Event) error {
		ms, err := w.detect(d, events)
		if err == nil {
			good, matches = append(good, events...), append(matches, ms...)
		}
		return err
	}, func(at int, err error) {
		bad = append(bad, at)
		h.letters = append(h.letters, letter(&h.batch, at, err))
	}, passing)
	if err == nil && len(good) > 0 {
		h.saves = []store.Batch{{ID: partID(h.batch.ID, bad), Events: good, Matches: matches}}
	}
	return err
}

// saveParts stores h's events without those that the store cannot take.
func (w *Worker) saveParts(ctx context.Context, h *hand) error {
	for _, b := range h.saves {
		byEvent := map[string][]picket.Match{}
		for _, m := range b.Matches {
			byEvent[m.EventID] = append(byEvent[m.EventID], m)
		}
		err := bisect(b.Events, 0, func(events []picket.Event) error {
			part := store.Batch{ID: fmt.Sprintf("%s.of-%s", b.ID, events[0].ID), Events: events}
			if len(events) > 1 {
				part.ID = fmt.Sprintf("%s.to-%s", part.ID, events[len(events)-1].ID)
			}
			for i := range events {
				part.Matches = append(part.Matches, byEvent[events[i].ID]...)
			}
			return w.save(ctx, &group{hands: []*hand{{d: h.d, saves: []store.Batch{part}}}, events: len(events)})
		}, func(at int, err error) {
			one := picket.Batch{ID: b.ID, Received: h.batch.Received, Events: b.Events}
			h.letters = append(h.letters, letter(&one, at, err))
		}, func(err error) bool { return !hopeless(err) })
		if err != nil {
			return err
		}
	}
	return nil
}

// bisect calls try on events, and where it fails on halves of them, down to
// single ones, which it hands to bad with their index. An error that passes
// says may pass ends it.
func bisect(events []picket.Event, from int, try func([]picket.Event) error, bad func(at int, err error), passes func(error) bool) error {
	err := try(events)
	switch {
	case err == nil:
		return nil
	case passes(err):
		return err
	case len(events) == 1:
		bad(from, err)
		return nil
	}
	half := len(events) / 2
	if err := bisect(events[:half], from, try, bad, passes); err != nil {
		return err
	}
	return bisect(events[half:], from+half, try, bad, passes)
}

// letter holds event at of b as a batch of its own. Its id is another, for
// the store counts a batch id once.
func letter(b *picket.Batch, at int, cause error) queue.DeadLetter {
	e := b.Events[at]
	one := picket.Batch{ID: fmt.Sprintf("%s.%d", b.ID, at), Received: b.Received, Events: []picket.Event{e}}
	return queue.DeadLetter{Reason: queue.Failed, Cause: cause.Error(), AgentID: e.AgentID, EventID: e.ID,
		Events: 1, Time: time.Now(), Payload: one.Encode(nil)}
}

// partID names a batch without the events at bad. Should the batch be
// delivered again and more of it succeed, the store must not take it for the
// one that it knows.
func partID(id string, bad []int) string {
	if len(bad) == 0 {
		return id
	}
	sum := sha256.Sum256(fmt.Append(nil, bad))
	return id + ".without-" + hex.EncodeToString(sum[:4])
}
