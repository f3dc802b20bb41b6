package redisqueue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisbooks"
)

// Ack implements queue.Queue.
func (q *Queue) Ack(ctx context.Context, ds ...queue.Delivery) error {
	if len(ds) == 0 {
		return nil
	}
	if err := q.ready(ctx); err != nil {
		return fmt.Errorf("ack %d messages: %w", len(ds), err)
	}
	type part struct {
		op     *op
		tokens []int64
		bytes  int64
	}
	parts := make(map[int]*part)
	for i := range ds {
		h, ok := q.find(ds[i].Token)
		if !ok {
			continue // it was acked before
		}
		p := parts[h.entry.shard]
		if p == nil {
			s := q.shards[h.entry.shard]
			p = &part{op: &op{shard: s, call: &call{script: ackScript, keys: []string{s.in, s.counts, s.rate, s.due}}}}
			parts[h.entry.shard] = p
		}
		p.op.call.args = append(p.op.call.args, h.entry.id, h.size)
		p.tokens = append(p.tokens, ds[i].Token)
		p.bytes += int64(h.size)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, p := range parts {
		wg.Go(func() {
			if err := q.do(ctx, p.op); err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
				return
			}
			q.forget(p.tokens...)
			q.gauge.add(-p.bytes)
		})
	}
	wg.Wait()
	if failed != nil {
		return fmt.Errorf("ack %d messages: %w", len(ds), failed)
	}
	return nil
}

// Retry implements queue.Queue. When it fails the message comes again all the
// same, when its lease has ended. The cause is not kept.
func (q *Queue) Retry(ctx context.Context, d queue.Delivery, delay time.Duration, _ error) error {
	if err := q.ready(ctx); err != nil {
		return fmt.Errorf("retry batch %s: %w", d.ID, err)
	}
	h, ok := q.find(d.Token)
	if !ok {
		return nil
	}
	defer q.forget(d.Token)
	s := q.shards[h.entry.shard]
	err := q.do(ctx, &op{shard: s, call: &call{script: retryScript, keys: []string{s.in, s.due},
		args: []any{q.consumer, max(delay.Milliseconds(), 0), 0, h.entry.id, h.deliveries}}})
	if err != nil {
		return fmt.Errorf("retry batch %s: %w", d.ID, err)
	}
	q.laneOf(s).due.Store(true)
	return nil
}

// Bury implements queue.Queue.
func (q *Queue) Bury(ctx context.Context, d queue.Delivery, letters ...queue.Letter) error {
	if err := q.ready(ctx); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	h, ok := q.find(d.Token)
	if !ok {
		return nil
	}
	s := q.shards[h.entry.shard]
	o := &op{shard: s, call: &call{script: buryScript, keys: []string{s.in, s.counts, s.rate, s.due, s.dead},
		args: []any{s.n, q.consumer, h.entry.id, h.deliveries, h.size}}}
	for i := range letters {
		o.call.args = redisbooks.AppendLetter(o.call.args, queue.Failed, &letters[i])
		o.size += len(letters[i].Payload)
	}
	if err := q.do(ctx, o); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	q.forget(d.Token)
	return nil
}
