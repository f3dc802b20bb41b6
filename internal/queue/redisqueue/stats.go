package redisqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// runOnShards runs a script on each shard, in one pipeline.
func (q *Queue) runOnShards(ctx context.Context, sc *script, keys func(*shard) []string, args ...any) ([]*call, error) {
	if err := q.connect(ctx); err != nil {
		return nil, err
	}
	var calls []*call
	for _, s := range q.shards {
		calls = append(calls, &call{script: sc, keys: keys(s), args: args})
	}
	return calls, q.runCalls(ctx, calls, false)
}

// Stats implements queue.Inspector. It reads a snapshot of each shard, one shard
// after another.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	calls, err := q.runOnShards(ctx, statsScript, func(s *shard) []string { return []string{s.in, s.counts, s.rate, s.dead} })
	if err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: %w", err)
	}
	sum := queue.Stats{MaxBytes: q.opt.MaxBytes}
	var r redisstats.Rates
	for _, c := range calls {
		out, err := c.cmd.Slice()
		if err != nil || len(out) != 8 {
			return queue.Stats{}, fmt.Errorf("read queue: %d values: %w", len(out), redisstats.WrapError(err))
		}
		n := func(i int) int64 { v, _ := out[i].(int64); return v }
		counts := parseHash(out[6])
		messages, leased, leasedEvents := n(0), n(1), n(2)
		sum.Pending += messages - leased
		sum.Leased += leased
		sum.PendingEvents += counts["events"] - leasedEvents
		sum.LeasedEvents += leasedEvents
		sum.Dead += n(3)
		if oldest, now := n(4), n(5); oldest > 0 {
			sum.OldestAge = max(sum.OldestAge, float64(now-oldest)/1000)
		}
		sum.Bytes += counts["bytes"]
		sum.Accepted += counts["accepted"]
		sum.Rejected += counts["rejected"]
		sum.Failed += counts["failed"]
		sum.Purged += counts["purged"]
		sum.Dropped += counts["dropped"]
		r.Add(time.UnixMilli(n(5)), parseHash(out[7]))
	}
	sum.InRate, sum.OutRate = r.PerSecond()
	return sum, nil
}

// parseHash parses the reply of HGETALL on a hash of integers.
func parseHash(reply any) map[string]int64 {
	all, _ := reply.([]any)
	m := make(map[string]int64, len(all)/2)
	for i := 0; i+1 < len(all); i += 2 {
		name, _ := all[i].(string)
		value, _ := all[i+1].(string)
		m[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return m
}

// maxPeekBytes bounds the payload bytes that Peek reads from a shard.
const maxPeekBytes = 4 << 20

// Peek implements queue.Inspector.
func (q *Queue) Peek(ctx context.Context, n int) ([]queue.Delivery, error) {
	calls, err := q.runOnShards(ctx, peekScript, func(s *shard) []string { return []string{s.in, s.lost} }, max(n, 0), maxPeekBytes)
	if err != nil {
		return nil, fmt.Errorf("peek: %w", err)
	}
	var all []fetchedMessage
	for i, c := range calls {
		out, err := c.cmd.Slice()
		if err != nil {
			return nil, fmt.Errorf("peek: %w", redisstats.WrapError(err))
		}
		eachMessage(q.shards[i], out, func(e entryID, deliveries, lost int, batch, agent, payload string) {
			all = append(all, fetchedMessage{e, delivery(e, deliveries+1, lost, batch, agent, payload)})
		})
	}
	slices.SortFunc(all, func(a, b fetchedMessage) int {
		if a.entry.before(b.entry) {
			return -1
		}
		return 1
	})
	var ds []queue.Delivery
	for _, m := range all[:min(n, len(all))] {
		ds = append(ds, m.delivery)
	}
	return ds, nil
}
