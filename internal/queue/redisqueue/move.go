package redisqueue

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

var _ queue.Movable = (*Queue)(nil)

// AddDeadLetters implements queue.Movable.
func (q *Queue) AddDeadLetters(ctx context.Context, ls ...queue.DeadLetter) error {
	if err := q.addDeadLetters(ctx, ls); err != nil {
		return fmt.Errorf("add dead letters: %w", err)
	}
	return nil
}

func (q *Queue) addDeadLetters(ctx context.Context, ls []queue.DeadLetter) error {
	if err := q.connect(ctx); err != nil {
		return err
	}
	size := int64(0)
	byShard := make(map[*shard]*call)
	var calls []*call
	for i := range ls {
		s := q.shardOf(ls[i].AgentID)
		c := byShard[s]
		if c == nil {
			c = &call{script: addDeadLettersScript, keys: []string{s.counts, s.dead, s.batches}, args: []any{s.n}}
			byShard[s] = c
			calls = append(calls, c)
		}
		c.args = redisstats.AppendMovedDeadLetterArgs(c.args, &ls[i])
		size += int64(len(ls[i].Payload) + len(ls[i].Cause) + len(ls[i].AgentID) + len(ls[i].EventID))
	}
	if err := q.checkCapacity(ctx, size); err != nil {
		return err
	}
	for _, c := range calls { // WAITAOF is for the node of one shard
		if err := q.runCalls(ctx, []*call{c}, q.waitAOF); err != nil {
			return err
		}
	}
	q.addUsage(size)
	return nil
}

// AddCounters implements queue.Movable.
func (q *Queue) AddCounters(ctx context.Context, c queue.Counters) error {
	err := q.connect(ctx)
	if err == nil {
		add := &call{script: addCountersScript, keys: []string{q.shards[0].counts}, args: redisstats.CounterArgs(c)}
		err = q.runCalls(ctx, []*call{add}, q.waitAOF)
	}
	if err != nil {
		return fmt.Errorf("add counters: %w", err)
	}
	return nil
}

// RemoveMoved implements queue.Movable.
func (q *Queue) RemoveMoved(ctx context.Context, ds ...queue.Delivery) error {
	if err := q.remove(ctx, removeMovedScript, ds); err != nil {
		return fmt.Errorf("remove %d moved messages: %w", len(ds), err)
	}
	return nil
}

// OldestDeadLetters implements queue.Movable. They are of one shard.
func (q *Queue) OldestDeadLetters(ctx context.Context, n int) ([]queue.DeadLetter, error) {
	if err := q.connect(ctx); err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	for _, s := range q.shards {
		ls, err := redisstats.OldestDeadLetters(ctx, q.client, s.dead, n)
		if err != nil {
			return nil, fmt.Errorf("read dead letters: %w", err)
		}
		if len(ls) > 0 {
			return ls, nil
		}
	}
	return nil, nil
}

// RemoveMovedDeadLetters implements queue.Movable.
func (q *Queue) RemoveMovedDeadLetters(ctx context.Context, ls ...queue.DeadLetter) error {
	if len(ls) == 0 {
		return nil
	}
	ids := make([]int64, len(ls))
	for i := range ls {
		ids[i] = ls[i].ID
	}
	_, err := q.requeueOrPurge(ctx, "moved", ids)
	return err
}
