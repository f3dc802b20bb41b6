package diskbuffer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
)

// maxForwardBatches is how many buffered batches are leased at a time.
const maxForwardBatches = 256

// maxForwardBytes bounds one EnqueueAll, approximately.
const maxForwardBytes = 1 << 20

var retryPolicy = backoff.Policy{First: 50 * time.Millisecond, Max: 2 * time.Second}

// forwardLoop moves batches from the buffer to the next queue until ctx ends.
func (q *Queue) forwardLoop(ctx context.Context) {
	failures := 0 // in a row
	for ctx.Err() == nil {
		ds, err := q.buffer.Receive(ctx, maxForwardBatches)
		if err != nil {
			if ctx.Err() == nil {
				q.log.Error("reading disk buffer failed; retrying", "error", err)
				failures++
				retryPolicy.Wait(ctx, failures)
			}
			continue
		}
		// No new batch is received before all of these are forwarded: it could
		// overtake an older one of its agent.
		for len(ds) > 0 && ctx.Err() == nil {
			unsent, err := q.send(ctx, ds)
			if err != nil {
				q.admission.set(false, 0)
				failures++
				retryPolicy.Wait(ctx, failures)
			} else {
				failures = 0
				q.admission.set(true, len(ds)/2)
			}
			ds = unsent
		}
		q.endDegradedIfDrained()
	}
}

// agentBatches are the buffered batches of one agent, in order.
type agentBatches struct {
	ds   []queue.Delivery
	reqs []queue.EnqueueRequest
}

// send forwards batches: agents in parallel, the batches of each in order. It
// returns those that could not be sent, with the error.
func (q *Queue) send(ctx context.Context, ds []queue.Delivery) (unsent []queue.Delivery, failed error) {
	var mu sync.Mutex // guards what follows
	var sent []queue.Delivery
	var wg sync.WaitGroup
	for _, b := range q.decodeByAgent(ctx, ds) {
		wg.Go(func() {
			for len(b.ds) > 0 {
				n, err := q.forwardFirst(ctx, b)
				mu.Lock()
				sent = append(sent, b.ds[:n]...)
				b.ds, b.reqs = b.ds[n:], b.reqs[n:]
				if err != nil {
					unsent, failed = append(unsent, b.ds...), err
					b.ds = nil
				}
				mu.Unlock()
				if n == 0 && err == nil { // the first was buried
					b.ds, b.reqs = b.ds[1:], b.reqs[1:]
				}
			}
		})
	}
	wg.Wait()
	if len(sent) == 0 {
		return unsent, failed
	}
	// After an error these are forwarded again. The next queue, or the store,
	// recognizes them as duplicates.
	if err := q.buffer.Ack(context.WithoutCancel(ctx), sent...); err != nil {
		return append(sent, unsent...), err
	}
	q.recordForwarded(len(sent))
	if q.opt.Deduplicator != nil {
		for _, d := range sent {
			q.opt.Deduplicator.ConfirmNoResend(d.Agent, d.ID)
		}
	}
	return unsent, failed
}

// decodeByAgent decodes batches and groups them by agent. It buries those that it
// cannot decode.
func (q *Queue) decodeByAgent(ctx context.Context, ds []queue.Delivery) map[string]*agentBatches {
	agents := make(map[string]*agentBatches)
	for _, d := range ds {
		r, err := DecodeEnqueueRequest(d.Payload)
		if err != nil {
			q.bury(ctx, d, err)
			continue
		}
		b := agents[r.Message.Agent]
		if b == nil {
			b = new(agentBatches)
			agents[r.Message.Agent] = b
		}
		d.Agent = r.Message.Agent // which the buffer need not keep
		b.ds, b.reqs = append(b.ds, d), append(b.reqs, r)
	}
	return agents
}

// forwardFirst forwards the first batches of an agent, up to maxForwardBytes, and
// returns how many. It returns 0 and no error if it buried the first one
// because the next queue will never accept it.
func (q *Queue) forwardFirst(ctx context.Context, b *agentBatches) (forwarded int, err error) {
	n, size := 0, 0
	for n < len(b.reqs) && (n == 0 || size+len(b.reqs[n].Message.Payload) <= maxForwardBytes) {
		size += len(b.reqs[n].Message.Payload)
		n++
	}
	err = q.next.EnqueueAll(ctx, b.reqs[:n]...)
	if errors.Is(err, picket.ErrInvalid) && n > 1 {
		n = 1
		err = q.next.EnqueueAll(ctx, b.reqs[0])
	}
	switch {
	case errors.Is(err, picket.ErrInvalid):
		q.bury(ctx, b.ds[0], err)
		return 0, nil
	case err != nil:
		return 0, err
	}
	return n, nil
}

// bury turns a batch that can never be forwarded into a dead letter of the
// buffer.
func (q *Queue) bury(ctx context.Context, d queue.Delivery, cause error) {
	q.log.Error("buffered batch cannot be forwarded", "batch", d.ID, "events", d.Events, "error", cause)
	err := q.buffer.Bury(context.WithoutCancel(ctx), d, queue.DeadLetter{
		Reason: queue.Failed, Cause: cause.Error(), AgentID: d.Agent, Events: d.Events, Time: time.Now(), Payload: d.Payload,
	})
	if err != nil {
		q.log.Error("dead-lettering buffered batch failed; will retry at next start", "batch", d.ID, "error", err)
	}
	q.recordForwarded(1)
}
