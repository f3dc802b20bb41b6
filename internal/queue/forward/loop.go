package forward

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// round is how many spooled batches are forwarded at a time.
const round = 256

// The pause after a failure doubles from the first to the second of these.
const (
	minPause = 50 * time.Millisecond
	maxPause = 2 * time.Second
)

// forward moves what is spooled to the next queue, until ctx ends.
func (q *Queue) forward(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		ds, err := q.spool.Receive(ctx, round)
		if err != nil {
			if ctx.Err() == nil {
				q.log.Error("spool not read; trying again", "error", err)
				failures++
				pause(ctx, failures)
			}
			continue
		}
		// All of a round are done before the next, so that none is passed by
		// a later one of its agent.
		for len(ds) > 0 && ctx.Err() == nil {
			left, err := q.send(ctx, ds)
			if err != nil {
				q.gate.set(false, 0)
				failures++
				pause(ctx, failures)
			} else {
				failures = 0
				q.gate.set(true, len(ds)/2)
			}
			ds = left
		}
		if q.spooled.Load() == 0 && q.away.Swap(false) {
			q.log.Info("queue back, and all that was kept is forwarded")
		}
	}
}

// A chain is what is spooled of one agent, in order.
type chain struct {
	ds   []queue.Delivery
	reqs []queue.Request
}

// send forwards batches, those of one agent one after another, and returns
// what is left with the reason.
func (q *Queue) send(ctx context.Context, ds []queue.Delivery) (left []queue.Delivery, failed error) {
	chains := make(map[string]*chain)
	for _, d := range ds {
		var r queue.Request
		if err := gob.NewDecoder(bytes.NewReader(d.Payload)).Decode(&r); err != nil {
			q.bury(ctx, d, err)
			continue
		}
		c := chains[r.Message.Agent]
		if c == nil {
			c = new(chain)
			chains[r.Message.Agent] = c
		}
		c.ds, c.reqs = append(c.ds, d), append(c.reqs, r)
	}
	var mu sync.Mutex
	var sent []queue.Delivery
	var wg sync.WaitGroup
	for _, c := range chains {
		wg.Go(func() {
			for len(c.ds) > 0 {
				n, err := q.sendSome(ctx, c)
				mu.Lock()
				sent = append(sent, c.ds[:n]...)
				c.ds, c.reqs = c.ds[n:], c.reqs[n:]
				if err != nil {
					left, failed = append(left, c.ds...), err
					c.ds = nil
				}
				mu.Unlock()
				if n == 0 && err == nil { // the first will never be taken
					c.ds, c.reqs = c.ds[1:], c.reqs[1:]
				}
			}
		})
	}
	wg.Wait()
	if len(sent) == 0 {
		return left, failed
	}
	// What cannot be acked is forwarded again; the next queue knows it, or the
	// store.
	if err := q.spool.Ack(context.WithoutCancel(ctx), sent...); err != nil {
		return append(sent, left...), err
	}
	q.spooled.Add(-int64(len(sent)))
	if next, ok := q.next.(settler); ok {
		for _, d := range sent {
			next.Settle(d.Agent, d.ID)
		}
	}
	return left, failed
}

// A settler is a next queue that knows what it was sent before until it is
// told that it will not be sent again.
type settler interface {
	Settle(agent string, ids ...string)
}

// maxStep is how many bytes are forwarded in one step, about.
const maxStep = 1 << 20

// sendSome forwards the first of a chain and returns how many. Where the first
// is one that the next queue will never take, it buries it and returns 0.
func (q *Queue) sendSome(ctx context.Context, c *chain) (int, error) {
	n, size := 0, 0
	for n < len(c.reqs) && (n == 0 || size+len(c.reqs[n].Message.Payload) <= maxStep) {
		size += len(c.reqs[n].Message.Payload)
		n++
	}
	err := q.next.EnqueueAll(ctx, c.reqs[:n]...)
	if errors.Is(err, picket.ErrInvalid) && n > 1 {
		n = 1
		err = q.next.EnqueueAll(ctx, c.reqs[0])
	}
	switch {
	case errors.Is(err, picket.ErrInvalid):
		q.bury(ctx, c.ds[0], err)
		return 0, nil
	case err != nil:
		return 0, err
	}
	return n, nil
}

// bury keeps what the next queue will never take as a dead letter of the spool.
func (q *Queue) bury(ctx context.Context, d queue.Delivery, cause error) {
	q.log.Error("a batch that was kept cannot be forwarded", "batch", d.ID, "events", d.Events, "error", cause)
	err := q.spool.Bury(context.WithoutCancel(ctx), d, queue.Letter{
		Kind: queue.Failed, Cause: cause.Error(), AgentID: d.Agent, Events: d.Events, Time: time.Now(), Payload: d.Payload,
	})
	if err != nil {
		q.log.Error("it is tried again when the spool is opened anew", "batch", d.ID, "error", err)
	}
	q.spooled.Add(-1)
}

// pause waits after the nth failure in a row, with jitter.
func pause(ctx context.Context, n int) {
	d := min(minPause<<min(n-1, 10), maxPause)
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
