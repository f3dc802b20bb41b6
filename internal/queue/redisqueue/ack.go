package redisqueue

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// Ack implements queue.Queue.
func (q *Queue) Ack(ctx context.Context, ds ...queue.Delivery) error {
	if len(ds) == 0 {
		return nil
	}
	parts, err := q.runPerShard(ctx, ds, func(s *shard) *call {
		return &call{script: ackScript, keys: []string{s.in, s.counts, s.rate, s.due, s.lost}}
	}, func(h lease) []any { return []any{h.entry.id, h.size} })
	if err != nil {
		return fmt.Errorf("ack %d messages: %w", len(ds), err)
	}
	for _, p := range parts {
		if p.err == nil {
			q.dropLeases(p.tokens...)
			q.capacity.add(-p.bytes)
		}
		err = cmp.Or(err, p.err)
	}
	if err != nil {
		return fmt.Errorf("ack %d messages: %w", len(ds), err)
	}
	return nil
}

// Retry implements queue.Queue. The causes are not kept.
func (q *Queue) Retry(ctx context.Context, delay time.Duration, rs ...queue.Retry) error {
	if len(rs) == 0 {
		return nil
	}
	ds := make([]queue.Delivery, len(rs))
	for i := range rs {
		ds[i] = rs[i].Delivery
	}
	parts, err := q.runPerShard(ctx, ds, func(s *shard) *call {
		return &call{script: retryScript, keys: []string{s.in, s.due}, args: []any{q.consumer, max(delay.Milliseconds(), 0), 0}}
	}, func(h lease) []any { return []any{h.entry.id, h.deliveries} })
	if err != nil {
		return fmt.Errorf("retry %d messages: %w", len(rs), err)
	}
	for _, p := range parts {
		// After an error too: not renewed, the leases end.
		q.dropLeases(p.tokens...)
		q.pipelinerOf(p.op.shard).checkDue.Store(true)
		err = cmp.Or(err, p.err)
	}
	if err != nil {
		return fmt.Errorf("retry %d messages: %w", len(rs), err)
	}
	return nil
}

// A shardOp is the deliveries of one shard in an Ack or a Retry.
type shardOp struct {
	op     *op
	tokens []int64
	bytes  int64 // of payloads
	err    error
}

// runPerShard runs a call for each shard that ds are of, with the arguments of each
// delivery that is still leased, and returns the parts with their errors.
func (q *Queue) runPerShard(ctx context.Context, ds []queue.Delivery, newCall func(*shard) *call, args func(lease) []any) ([]*shardOp, error) {
	if err := q.connect(ctx); err != nil {
		return nil, err
	}
	var parts []*shardOp
	byShard := make(map[int]*shardOp)
	for i := range ds {
		h, ok := q.findLease(ds[i].Receipt)
		if !ok {
			continue
		}
		p := byShard[h.entry.shard]
		if p == nil {
			s := q.shards[h.entry.shard]
			p = &shardOp{op: &op{shard: s, call: newCall(s)}}
			byShard[h.entry.shard] = p
			parts = append(parts, p)
		}
		p.op.call.args = append(p.op.call.args, args(h)...)
		p.tokens = append(p.tokens, ds[i].Receipt)
		p.bytes += int64(h.size)
	}
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() { p.err = q.do(ctx, p.op) })
	}
	wg.Wait()
	return parts, nil
}

// Bury implements queue.Queue.
func (q *Queue) Bury(ctx context.Context, d queue.Delivery, letters ...queue.DeadLetter) error {
	if err := q.connect(ctx); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	h, ok := q.findLease(d.Receipt)
	if !ok {
		return nil
	}
	s := q.shards[h.entry.shard]
	o := &op{shard: s, call: &call{script: buryScript, keys: []string{s.in, s.counts, s.rate, s.due, s.dead, s.lost},
		args: []any{s.n, q.consumer, h.entry.id, h.deliveries, h.size}}}
	for i := range letters {
		o.call.args = redisstats.AppendDeadLetter(o.call.args, queue.Failed, &letters[i])
		o.size += len(letters[i].Payload)
	}
	if err := q.do(ctx, o); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	q.dropLeases(d.Receipt)
	return nil
}
