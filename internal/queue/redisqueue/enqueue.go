package redisqueue

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// Enqueue implements queue.Queue. After an error, the message may have been
// enqueued or not. It can be sent again at any time, because the server
// recognizes duplicates by ID.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	if err := q.EnqueueAll(ctx, queue.EnqueueRequest{Message: m, Rejected: rejected}); err != nil {
		return fmt.Errorf("enqueue batch %s: %w", m.ID, err)
	}
	q.ConfirmNoResend(m.Agent, m.ID)
	return nil
}

// ConfirmNoResend implements diskbuffer.Deduplicator. Confirmed IDs are remembered only as
// long as they are among the last 4,096 of their shard, to recognize copies that
// are still in transit.
func (q *Queue) ConfirmNoResend(agent string, batchIDs ...string) {
	if q.connected.Load() {
		q.shardOf(agent).addNoResendIDs(batchIDs...)
	}
}

// EnqueueAll implements diskbuffer.NextQueue: it enqueues requests of one agent, in
// order and in one step. Duplicates are recognized by ID until ConfirmNoResend.
func (q *Queue) EnqueueAll(ctx context.Context, rs ...queue.EnqueueRequest) error {
	stored := int64(0) // payload bytes; messages without events are not stored
	for i := range rs {
		m := &rs[i].Message
		size := int64(len(m.Payload))
		if size > q.opt.MaxBytes || size > maxPayloadBytes || m.Events > maxEvents {
			return fmt.Errorf("%d events of %d bytes are more than the queue allows: %w", m.Events, size, picket.ErrInvalid)
		}
		if m.Events > 0 {
			stored += size
		}
	}
	if len(rs) == 0 {
		return nil
	}
	if err := q.connect(ctx); err != nil {
		return err
	}
	if stored > 0 {
		if err := q.checkCapacity(ctx, stored); err != nil {
			return err
		}
	}
	o := &op{shard: q.shardOf(rs[0].Message.Agent)}
	for i := range rs {
		o.add(&rs[i])
	}
	if err := q.do(ctx, o); err != nil {
		return err
	}
	q.addUsage(stored)
	return nil
}

// add appends the arguments for a request.
func (o *op) add(r *queue.EnqueueRequest) {
	m := &r.Message
	payload := m.Payload
	if m.Events == 0 || payload == nil {
		payload = []byte{} // not stored
	}
	o.size += len(payload)
	o.request = append(o.request, m.ID, m.Agent, m.Events, payload, len(r.Rejected))
	for i := range r.Rejected {
		o.size += len(r.Rejected[i].Payload)
		o.request = redisstats.AppendDeadLetterArgs(o.request, queue.Rejected, &r.Rejected[i])
	}
}
