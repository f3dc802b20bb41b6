package celeryqueue

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

var _ queue.Movable = (*Queue)(nil)

// AddDeadLetters implements queue.Movable.
func (q *Queue) AddDeadLetters(ctx context.Context, ls ...queue.DeadLetter) error {
	var args []any
	size := int64(0)
	for i := range ls {
		args = redisstats.AppendMovedDeadLetterArgs(args, &ls[i])
		size += int64(len(ls[i].Payload))
	}
	_, err := q.reserveCapacity(ctx, size, nil)
	if err == nil {
		_, err = q.runScript(ctx, addDeadLettersScript, nil, args...)
	}
	if err != nil {
		return fmt.Errorf("add dead letters: %w", err)
	}
	return nil
}

// AddCounters implements queue.Movable.
func (q *Queue) AddCounters(ctx context.Context, c queue.Counters) error {
	if _, err := q.runScript(ctx, addCountersScript, nil, redisstats.CounterArgs(c)...); err != nil {
		return fmt.Errorf("add counters: %w", err)
	}
	return nil
}

// RemoveMoved implements queue.Movable. The tasks get no results.
func (q *Queue) RemoveMoved(ctx context.Context, ds ...queue.Delivery) error {
	var tags, tried []any
	own := 0 // counted when they were published
	for i := range ds {
		for _, t := range q.findInflight(ds[i].Receipt) {
			tags = append(tags, t.tag)
			if t.attempts > 0 {
				tried = append(tried, t.ID)
			}
			if !t.foreign {
				own++
			}
		}
	}
	if len(tags) == 0 {
		return nil
	}
	args := append([]any{0, -own, len(tags)}, tags...)
	args = append(append(args, len(tried)), tried...)
	if _, err := q.runScript(ctx, finishScript, nil, appendDeadLetters(args, nil)...); err != nil {
		return fmt.Errorf("remove %d moved tasks: %w", len(tags), err)
	}
	for i := range ds {
		q.inflight.Delete(ds[i].Receipt)
	}
	return nil
}

// OldestDeadLetters implements queue.Movable.
func (q *Queue) OldestDeadLetters(ctx context.Context, n int) ([]queue.DeadLetter, error) {
	ls, err := redisstats.OldestDeadLetters(ctx, q.client, q.set.OwnKey("dead"), n)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return ls, nil
}

// RemoveMovedDeadLetters implements queue.Movable.
func (q *Queue) RemoveMovedDeadLetters(ctx context.Context, ls ...queue.DeadLetter) error {
	if _, err := q.requeueOrPurgePage(ctx, "moved", ls); err != nil {
		return fmt.Errorf("remove moved dead letters: %w", err)
	}
	return nil
}
