package celeryqueue

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/picket-edr/picket/internal/queue"
)

// Requeue implements queue.Inspector. A message that could not be decoded is requeued
// as it was, an event as a new task.
func (q *Queue) Requeue(ctx context.Context, ids ...int64) (int, error) {
	return q.requeueOrPurge(ctx, "requeue", ids)
}

// Purge implements queue.Inspector.
func (q *Queue) Purge(ctx context.Context, ids ...int64) (int, error) {
	return q.requeueOrPurge(ctx, "purge", ids)
}

// requeueOrPurge requeues or purges dead letters: those named, or all that exist now.
func (q *Queue) requeueOrPurge(ctx context.Context, action string, ids []int64) (changed int, err error) {
	err = q.eachDeadLetterPage(ctx, ids, func(page []queue.DeadLetter) error {
		n, err := q.requeueOrPurgePage(ctx, action, page)
		changed += n
		return err
	})
	if err != nil {
		return changed, fmt.Errorf("%s dead letters: %w", action, err)
	}
	return changed, nil
}

// deadLetterChunk is how many dead letters are read at once.
const deadLetterChunk = 100

// eachDeadLetterPage calls f with the dead letters of the given IDs, or if there are none
// with pages of all that exist now, from the newest to the oldest. New ones get higher
// IDs, so it ends.
func (q *Queue) eachDeadLetterPage(ctx context.Context, ids []int64, f func([]queue.DeadLetter) error) error {
	for _, id := range ids {
		page, err := q.listDeadLetters(ctx, id+1, 1, math.MaxInt32)
		if err == nil && len(page.DeadLetters) > 0 && page.DeadLetters[0].ID == id {
			err = f(page.DeadLetters)
		}
		if err != nil {
			return err
		}
	}
	for before := int64(0); len(ids) == 0; {
		page, err := q.listDeadLetters(ctx, before, deadLetterChunk, math.MaxInt32)
		if err == nil {
			err = f(page.DeadLetters)
		}
		if err != nil || page.Next == 0 {
			return err
		}
		before = page.Next
	}
	return nil
}

// requeueOrPurgePage requeues or purges dead letters.
func (q *Queue) requeueOrPurgePage(ctx context.Context, action string, page []queue.DeadLetter) (changed int, err error) {
	lists := []string{q.set.Keys.List(q.set.Publish, 0)}
	args := []any{action}
	for i := range page {
		l := &page[i]
		list, accepted := 1, 0
		var tasks [][]byte
		if action == "requeue" {
			if len(l.Payload) == 0 {
				continue
			}
			if tasks, err = q.encodeTasks(l.Payload); err != nil { // not a batch: a message as it was received
				tasks = [][]byte{l.Payload}
				lists = append(lists, q.requeueList(l.Payload))
				list = len(lists)
			} else {
				accepted = l.Events
			}
		}
		args = append(args, l.ID, accepted, list, len(tasks))
		for _, t := range tasks {
			args = append(args, t)
		}
	}
	if len(args) == 1 {
		return 0, nil
	}
	cmd, err := q.runScript(ctx, requeueOrPurgeScript, lists, args...)
	if err != nil {
		return 0, err
	}
	return cmd.Int()
}

// requeueList returns the list that an undecodable message is requeued to: that of the
// queue it was sent to, or one of picket's own.
func (q *Queue) requeueList(raw []byte) string {
	if t, _ := q.decoder.Decode(raw); t != nil && t.RoutingKey != "" {
		return q.set.Keys.List(t.RoutingKey, t.Priority)
	}
	return q.set.Keys.List(slices.Concat(q.set.OwnQueues, []string{q.set.Publish})[0], 0)
}
