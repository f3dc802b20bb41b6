package celeryqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// Stats implements queue.Inspector. A task counts as an event. Leased counts picket's
// workers only, because the tasks that Python workers hold do not tell their queue.
// Accepted counts the tasks of other producers once they are done. The age of the
// oldest message is known for picket's tasks only.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	held, err := q.measureUsage(ctx)
	if err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: %w", err)
	}
	pipe := q.client.Pipeline()
	var lens []*redis.IntCmd
	lists := q.allLists()
	for _, key := range lists {
		lens = append(lens, pipe.LLen(ctx, key))
	}
	leased, parked, dead := pipe.ZCard(ctx, q.set.OwnKey("leases")), pipe.ZCard(ctx, q.set.OwnKey("parked")), pipe.XLen(ctx, q.set.OwnKey("dead"))
	counts, ring, now := pipe.HGetAll(ctx, q.set.OwnKey("counts")), pipe.HGetAll(ctx, q.set.OwnKey("rate")), pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: %w", redisstats.WrapError(err))
	}
	s := queue.Stats{Pending: parked.Val(), Leased: leased.Val(), Dead: dead.Val(), Bytes: held.bytes, MaxBytes: q.opt.MaxBytes}
	var oldest string
	for i, n := range lens {
		if s.Pending += n.Val(); n.Val() > 0 && oldest == "" {
			oldest = lists[i]
		}
	}
	s.PendingEvents, s.LeasedEvents = s.Pending, s.Leased
	total := redisstats.ParseInts(counts.Val())
	s.Accepted, s.Rejected, s.Failed, s.Purged, s.Dropped = total["accepted"], total["rejected"], total["failed"], total["purged"], total["dropped"]
	var r redisstats.Rates
	r.Add(now.Val(), redisstats.ParseInts(ring.Val()))
	s.InRate, s.OutRate = r.PerSecond()
	if oldest == "" {
		return s, nil
	}
	raw, err := q.client.LIndex(ctx, oldest, -1).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		return queue.Stats{}, fmt.Errorf("read queue: %w", redisstats.WrapError(err))
	}
	if t := q.decodePeeked(raw); t != nil && !t.queued.IsZero() {
		s.OldestAge = max(now.Val().Sub(t.queued).Seconds(), 0)
	}
	return s, nil
}

// Peek implements queue.Inspector: first delayed tasks, then the lists from their
// consuming end.
func (q *Queue) Peek(ctx context.Context, n int) ([]queue.Delivery, error) {
	var ds []queue.Delivery
	err := q.eachScheduled(ctx, func(_ *celery.Task, _ time.Time, r returnedTask) {
		if len(ds) < n {
			ds = q.appendPeekedDelivery(ds, r.raw)
		}
	})
	for _, key := range q.allLists() {
		if err != nil || len(ds) >= n {
			break
		}
		var raws []string
		raws, err = q.client.LRange(ctx, key, -int64(n-len(ds)), -1).Result()
		for i := len(raws) - 1; i >= 0; i-- {
			ds = q.appendPeekedDelivery(ds, []byte(raws[i]))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("peek: %w", redisstats.WrapError(err))
	}
	return ds, nil
}

// decodePeeked decodes a task, nil if it is not picket's.
func (q *Queue) decodePeeked(raw []byte) *Task {
	t := &Task{started: time.Now(), foreign: true}
	var err error
	if t.Task, err = q.decoder.Decode(raw); err != nil || q.readEvent(t, t.started) != nil {
		return nil
	}
	return t
}

func (q *Queue) appendPeekedDelivery(ds []queue.Delivery, raw []byte) []queue.Delivery {
	t := q.decodePeeked(raw)
	if t == nil {
		return append(ds, queue.Delivery{Message: queue.Message{Events: 1, Payload: raw}})
	}
	one := picket.Batch{ID: t.ID, Received: t.event.Received, Events: []picket.Event{t.event}}
	d := queue.Delivery{Message: queue.Message{ID: t.ID, Events: 1, Payload: one.Encode(nil)}, Attempt: 1}
	if !t.queued.IsZero() {
		d.Enqueued = t.queued
	}
	return append(ds, d)
}

// DeadLetters implements queue.Inspector.
func (q *Queue) DeadLetters(ctx context.Context, before int64, n int) (queue.DeadLetterPage, error) {
	page, err := q.listDeadLetters(ctx, before, n, queue.MaxListedPayloadBytes)
	if err != nil {
		return queue.DeadLetterPage{}, fmt.Errorf("list dead letters: %w", err)
	}
	return page, nil
}

// listDeadLetters lists a page of dead letters, without payloads of more than maxPayloadBytes
// bytes.
func (q *Queue) listDeadLetters(ctx context.Context, before int64, n, maxPayloadBytes int) (page queue.DeadLetterPage, err error) {
	if err := q.checkOpen(); err != nil {
		return page, err
	}
	if before <= 0 {
		before = math.MaxInt64
	}
	cmd, err := q.runScript(ctx, listDeadLettersScript, []string{q.set.OwnKey("dead")}, before, n, queue.MaxDeadLetterPageBytes, maxPayloadBytes)
	if err != nil {
		return page, err
	}
	more := false
	page.DeadLetters, more, err = redisstats.DecodeDeadLetters(cmd)
	if more && len(page.DeadLetters) > 0 {
		page.Next = page.DeadLetters[len(page.DeadLetters)-1].ID
	}
	return page, err
}

// Requeue implements queue.Inspector. A message that could not be decoded is requeued
// as it was, an event as a new task.
func (q *Queue) Requeue(ctx context.Context, ids ...int64) (int, error) {
	return q.requeueOrPurge(ctx, "requeue", ids)
}

// Purge implements queue.Inspector.
func (q *Queue) Purge(ctx context.Context, ids ...int64) (int, error) {
	return q.requeueOrPurge(ctx, "purge", ids)
}

// deadLetterChunk is how many dead letters are read at once.
const deadLetterChunk = 100

// requeueOrPurge requeues or purges dead letters: those named, or all that exist now.
func (q *Queue) requeueOrPurge(ctx context.Context, action string, ids []int64) (n int, err error) {
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
	var named []queue.DeadLetter
	for _, id := range ids {
		one, err := q.listDeadLetters(ctx, id+1, 1, math.MaxInt32)
		if err != nil {
			return 0, err
		}
		if ls := one.DeadLetters; len(ls) > 0 && ls[0].ID == id {
			named = append(named, ls[0])
		}
	}
	return q.requeueOrPurgePage(ctx, action, named)
}

// requeueOrPurgeAll pages from the newest dead letter to the oldest. New ones get
// higher IDs, so it ends.
func (q *Queue) requeueOrPurgeAll(ctx context.Context, action string) (changed int, err error) {
	n := 0
	for before := int64(0); ; {
		page, err := q.listDeadLetters(ctx, before, deadLetterChunk, math.MaxInt32)
		if err != nil {
			return n, err
		}
		changed, err := q.requeueOrPurgePage(ctx, action, page.DeadLetters)
		n += changed
		if err != nil || page.Next == 0 {
			return n, err
		}
		before = page.Next
	}
}

// requeueOrPurgePage requeues or purges dead letters.
func (q *Queue) requeueOrPurgePage(ctx context.Context, action string, page []queue.DeadLetter) (changed int, err error) {
	keys := []string{q.set.OwnKey("dead"), q.set.OwnKey("counts"), q.set.OwnKey("rate"), q.set.Keys.List(q.set.Publish, 0)}
	args := []any{action}
	for i := range page {
		l := &page[i]
		list, accepted := 1, 0
		var tasks [][]byte
		if action == "requeue" {
			if len(l.Payload) == 0 {
				continue
			}
			var err error
			if tasks, err = q.encodeTasks(l.Payload); err != nil { // not a batch: a message as it was received
				tasks = [][]byte{l.Payload}
				keys = append(keys, q.requeueList(l.Payload))
				list = len(keys) - 3
			} else if l.Reason == queue.Rejected {
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
	cmd, err := q.runScript(ctx, deadLetterScript, keys, args...)
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
	return q.set.Keys.List(append(slices.Clone(q.set.OwnQueues), q.set.Publish)[0], 0)
}
