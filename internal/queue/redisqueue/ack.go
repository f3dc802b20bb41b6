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
	if err := q.remove(ctx, ackScript, ds); err != nil {
		return fmt.Errorf("ack %d messages: %w", len(ds), err)
	}
	return nil
}

// remove removes deliveries with a script.
func (q *Queue) remove(ctx context.Context, removing *script, ds []queue.Delivery) error {
	if len(ds) == 0 {
		return nil
	}
	parts, err := q.runPerShard(ctx, ds, func(s *shard) *call {
		return &call{script: removing, keys: []string{s.in, s.counts, s.rate, s.due, s.lost}}
	}, func(l lease) []any { return []any{l.entry.id, l.size} })
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.err == nil {
			q.dropLeases(p.receipts...)
			q.addUsage(-p.bytes)
		}
		err = cmp.Or(err, p.err)
	}
	return err
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
	}, func(l lease) []any { return []any{l.entry.id, l.deliveries} })
	if err != nil {
		return fmt.Errorf("retry %d messages: %w", len(rs), err)
	}
	for _, p := range parts {
		// Also after an error, so that the leases are not renewed and end.
		q.dropLeases(p.receipts...)
		q.pipelinerOf(p.op.shard).checkDue.Store(true)
		err = cmp.Or(err, p.err)
	}
	if err != nil {
		return fmt.Errorf("retry %d messages: %w", len(rs), err)
	}
	return nil
}

// A shardOp is the part of an Ack or a Retry that is about one shard.
type shardOp struct {
	op       *op
	receipts []int64
	bytes    int64 // of payloads
	err      error
}

// runPerShard runs one call for each shard of ds, with the arguments of those
// deliveries that are still leased. It returns the calls with their errors.
func (q *Queue) runPerShard(ctx context.Context, ds []queue.Delivery, newCall func(*shard) *call, args func(lease) []any) ([]*shardOp, error) {
	if err := q.connect(ctx); err != nil {
		return nil, err
	}
	var parts []*shardOp
	byShard := make(map[int]*shardOp)
	for i := range ds {
		l, ok := q.findLease(ds[i].Receipt)
		if !ok {
			continue
		}
		p := byShard[l.entry.shard]
		if p == nil {
			s := q.shards[l.entry.shard]
			p = &shardOp{op: &op{shard: s, call: newCall(s)}}
			byShard[l.entry.shard] = p
			parts = append(parts, p)
		}
		p.op.call.args = append(p.op.call.args, args(l)...)
		p.receipts = append(p.receipts, ds[i].Receipt)
		p.bytes += int64(l.size)
	}
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() { p.err = q.do(ctx, p.op) })
	}
	wg.Wait()
	return parts, nil
}

// Bury implements queue.Queue.
func (q *Queue) Bury(ctx context.Context, d queue.Delivery, deadLetters ...queue.DeadLetter) error {
	if err := q.connect(ctx); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	l, ok := q.findLease(d.Receipt)
	if !ok {
		return nil
	}
	s := q.shards[l.entry.shard]
	o := &op{shard: s, call: &call{script: buryScript, keys: []string{s.in, s.counts, s.rate, s.due, s.dead, s.lost},
		args: []any{s.n, q.consumer, l.entry.id, l.deliveries, l.size}}}
	for i := range deadLetters {
		o.call.args = redisstats.AppendDeadLetterArgs(o.call.args, queue.Failed, &deadLetters[i])
		o.size += len(deadLetters[i].Payload)
	}
	if err := q.do(ctx, o); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	q.dropLeases(d.Receipt)
	return nil
}
