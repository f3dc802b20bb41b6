package redisqueue

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// Enqueue implements queue.Queue. After an error nobody knows whether the
// server did it. The same message may be sent again: it is known by its ID,
// however much later that is.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	if err := q.EnqueueAll(ctx, queue.EnqueueRequest{Message: m, Rejected: rejected}); err != nil {
		return fmt.Errorf("enqueue batch %s: %w", m.ID, err)
	}
	q.Confirm(m.Agent, m.ID)
	return nil
}

// Settle tells that messages of an agent, enqueued before, will not be sent
// again. Their IDs are known among the last 4,096 of the shard from then on,
// for copies of them that are under way.
func (q *Queue) Confirm(agent string, ids ...string) {
	if q.connected.Load() {
		q.shardOf(agent).confirm(ids...)
	}
}

// EnqueueAll does all that is asked, which must be of one Agent, in this order
// and in one step, or nothing. What may be sent again is known by its ID until
// it is settled.
func (q *Queue) EnqueueAll(ctx context.Context, rs ...queue.EnqueueRequest) error {
	held := int64(0) // bytes of payloads that are kept
	for i := range rs {
		m := &rs[i].Message
		size := int64(len(m.Payload))
		if size > q.opt.MaxBytes || size > maxPayload || m.Events > maxEvents {
			return fmt.Errorf("%d events of %d bytes are more than the queue takes: %w", m.Events, size, picket.ErrInvalid)
		}
		if m.Events > 0 {
			held += size
		}
	}
	if len(rs) == 0 {
		return nil
	}
	if err := q.connect(ctx); err != nil {
		return err
	}
	if held > 0 {
		if err := q.checkCapacity(ctx, held); err != nil {
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
	q.capacity.add(held)
	return nil
}

// add appends what the script wants of a request.
func (o *op) add(r *queue.EnqueueRequest) {
	m := &r.Message
	payload := m.Payload
	if m.Events == 0 || payload == nil {
		payload = []byte{} // without events it is not kept
	}
	o.size += len(payload)
	o.request = append(o.request, m.ID, m.Agent, m.Events, payload, len(r.Rejected))
	for i := range r.Rejected {
		o.size += len(r.Rejected[i].Payload)
		o.request = redisstats.AppendDeadLetter(o.request, queue.Rejected, &r.Rejected[i])
	}
}
