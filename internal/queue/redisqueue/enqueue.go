package redisqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// Enqueue implements queue.Queue. After an error nobody knows whether the
// server did it. The same message may be sent again: it is known by its ID
// among the last thousand of its shard.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.Letter) error {
	if err := q.enqueue(ctx, m, rejected); err != nil {
		return fmt.Errorf("enqueue batch %s: %w", m.ID, err)
	}
	return nil
}

func (q *Queue) enqueue(ctx context.Context, m queue.Message, rejected []queue.Letter) error {
	size := int64(len(m.Payload))
	if size > q.opt.MaxBytes || size > maxPayload || m.Events > maxEvents {
		return fmt.Errorf("%d events of %d bytes are more than the queue takes: %w", m.Events, size, picket.ErrInvalid)
	}
	if err := q.ready(ctx); err != nil {
		return err
	}
	if m.Events > 0 {
		if err := q.room(ctx, size); err != nil {
			return err
		}
	}
	o := &op{shard: q.shardOf(m.Agent), size: len(m.Payload)}
	o.request = append(o.request, m.ID, m.Agent, m.Events, m.Payload, len(rejected))
	if m.Events == 0 {
		o.request[3] = "" // it is not kept
	}
	for i := range rejected {
		o.size += len(rejected[i].Payload)
		o.request = appendLetter(o.request, &rejected[i])
	}
	if err := q.do(ctx, o); err != nil {
		return err
	}
	if m.Events > 0 {
		q.gauge.add(size)
	}
	return nil
}

// appendLetter appends what the scripts want of a letter.
func appendLetter(args []any, l *queue.Letter) []any {
	at := l.Time
	if at.IsZero() {
		at = time.Now()
	}
	payload := l.Payload
	if payload == nil {
		payload = []byte{}
	}
	return append(args, l.Cause, l.AgentID, l.EventID, l.Events, at.UnixMicro(), payload)
}
