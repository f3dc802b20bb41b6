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

// send forwards batches, those of one agent one after another, and returns
// what is left with the reason.
func (q *Queue) send(ctx context.Context, ds []queue.Delivery) (left []queue.Delivery, failed error) {
	byAgent := make(map[string][]queue.Delivery)
	var agents []string
	envelopes := make(map[int64]envelope)
	for _, d := range ds {
		var e envelope
		if err := gob.NewDecoder(bytes.NewReader(d.Payload)).Decode(&e); err != nil {
			q.bury(ctx, d, err)
			continue
		}
		envelopes[d.Token] = e
		if byAgent[e.Message.Agent] == nil {
			agents = append(agents, e.Message.Agent)
		}
		byAgent[e.Message.Agent] = append(byAgent[e.Message.Agent], d)
	}
	var mu sync.Mutex
	var sent []queue.Delivery
	var wg sync.WaitGroup
	for _, agent := range agents {
		wg.Go(func() {
			for i, d := range byAgent[agent] {
				e := envelopes[d.Token]
				err := q.Queue.Enqueue(ctx, e.Message, e.Rejected...)
				if errors.Is(err, picket.ErrInvalid) {
					q.bury(ctx, d, err)
					continue
				}
				mu.Lock()
				if err != nil {
					left, failed = append(left, byAgent[agent][i:]...), err
					mu.Unlock()
					return
				}
				sent = append(sent, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(sent) == 0 {
		return left, failed
	}
	// What cannot be acked is forwarded again: a duplicate, which the store knows.
	if err := q.spool.Ack(context.WithoutCancel(ctx), sent...); err != nil {
		return append(sent, left...), err
	}
	q.spooled.Add(-int64(len(sent)))
	return left, failed
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
