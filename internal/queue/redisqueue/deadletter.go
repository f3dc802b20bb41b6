package redisqueue

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// DeadLetters implements queue.Inspector. Each shard gives a part of the page.
func (q *Queue) DeadLetters(ctx context.Context, before int64, n int) (queue.DeadLetterPage, error) {
	page, err := q.listDeadLetters(ctx, before, n)
	if err != nil {
		return queue.DeadLetterPage{}, fmt.Errorf("list dead letters: %w", err)
	}
	return page, nil
}

func (q *Queue) listDeadLetters(ctx context.Context, before int64, n int) (page queue.DeadLetterPage, err error) {
	if err := q.connect(ctx); err != nil {
		return page, err
	}
	if before <= 0 {
		before = math.MaxInt64
	}
	var calls []*call
	for _, s := range q.shards {
		calls = append(calls, &call{script: listDeadLettersScript, keys: []string{s.dead},
			args: []any{before, n, queue.MaxDeadLetterPageBytes / len(q.shards), queue.MaxListedPayloadBytes}})
	}
	if err := q.runCalls(ctx, calls, false); err != nil {
		return page, err
	}
	// Below the lowest ID of a shard that has more, others would be missing.
	more, lowest := false, int64(0)
	for _, c := range calls {
		deadLetters, shardHasMore, err := redisstats.DecodeDeadLetters(c.cmd)
		if err != nil {
			return page, err
		}
		if shardHasMore && len(deadLetters) > 0 {
			more, lowest = true, max(lowest, deadLetters[len(deadLetters)-1].ID)
		}
		page.DeadLetters = append(page.DeadLetters, deadLetters...)
	}
	slices.SortFunc(page.DeadLetters, func(a, b queue.DeadLetter) int { return cmp.Compare(b.ID, a.ID) })
	bytes := 0
	for i := range page.DeadLetters {
		l := &page.DeadLetters[i]
		bytes += l.EstimateListedBytes()
		if i == n || l.ID < lowest || i > 0 && bytes > queue.MaxDeadLetterPageBytes {
			page.DeadLetters, more = page.DeadLetters[:i], true
			break
		}
	}
	if more && len(page.DeadLetters) > 0 {
		page.Next = page.DeadLetters[len(page.DeadLetters)-1].ID
	}
	return page, nil
}

// Requeue implements queue.Inspector. A dead letter is requeued in its own shard.
func (q *Queue) Requeue(ctx context.Context, ids ...int64) (int, error) {
	return q.requeueOrPurge(ctx, "requeue", ids)
}

// Purge implements queue.Inspector.
func (q *Queue) Purge(ctx context.Context, ids ...int64) (int, error) {
	return q.requeueOrPurge(ctx, "purge", ids)
}

// deadLettersPerCall bounds the dead letters of one script, so that it does not delay
// other commands for long.
const deadLettersPerCall = 100

// requeueOrPurge requeues or purges dead letters: those with the given IDs, or
// all that exist now.
func (q *Queue) requeueOrPurge(ctx context.Context, action string, ids []int64) (changed int, err error) {
	if err := q.connect(ctx); err != nil {
		return 0, fmt.Errorf("%s dead letters: %w", action, err)
	}
	n, err := 0, error(nil)
	if len(ids) > 0 {
		n, err = q.requeueOrPurgeIDs(ctx, action, ids)
	} else {
		n, err = q.requeueOrPurgeAll(ctx, action)
	}
	if err != nil {
		return n, fmt.Errorf("%s dead letters: %w", action, err)
	}
	return n, nil
}

func (q *Queue) requeueOrPurgeIDs(ctx context.Context, action string, ids []int64) (changed int, err error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	byShard := make(map[*shard][]any)
	for _, id := range slices.Compact(ids) {
		if s := q.shardOfDeadLetter(id); s != nil {
			byShard[s] = append(byShard[s], id)
		}
	}
	n := 0
	for s, args := range byShard {
		for part := range slices.Chunk(args, deadLettersPerCall) {
			did, _, err := q.requeueOrPurgeInShard(ctx, s, append([]any{action, 0}, part...))
			if err != nil {
				return n, err
			}
			n += did
		}
	}
	return n, nil
}

// requeueOrPurgeAll pages from the newest dead letter to the oldest. New dead letters get
// higher IDs, so it ends.
func (q *Queue) requeueOrPurgeAll(ctx context.Context, action string) (changed int, err error) {
	n := 0
	for _, s := range q.shards {
		below := int64(math.MaxInt64)
		for below > 0 {
			did, lowest, err := q.requeueOrPurgeInShard(ctx, s, []any{action, deadLettersPerCall, below})
			if err != nil {
				return n, err
			}
			n += did
			below = lowest
		}
	}
	return n, nil
}

func (q *Queue) requeueOrPurgeInShard(ctx context.Context, s *shard, args []any) (changed int, lowestID int64, err error) {
	c := &call{script: requeueOrPurgeScript, keys: []string{s.in, s.counts, s.rate, s.dead}, args: args}
	if err := q.runCalls(ctx, []*call{c}, false); err != nil {
		return 0, 0, err
	}
	out, err := c.cmd.Slice()
	if err != nil || len(out) != 2 {
		return 0, 0, fmt.Errorf("%d values: %w", len(out), redisstats.WrapError(err))
	}
	n, _ := out[0].(int64)
	text, _ := out[1].(string)
	lowestID, _ = strconv.ParseInt(text, 10, 64)
	return int(n), lowestID, nil
}
