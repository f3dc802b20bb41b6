package celeryqueue

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// Stats implements queue.Inspector. A task counts as an event. Leased counts picket's
// workers only, because the tasks that Python workers hold do not tell their queue.
// Accepted counts the tasks of other producers once they are done. The age of the
// oldest message is known for picket's tasks only.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	s, err := q.readSnapshot(ctx)
	var oldest string
	if err == nil && s.oldestList != "" {
		oldest, err = q.client.LIndex(ctx, s.oldestList, -1).Result()
		err = redisstats.WrapError(err)
	}
	if err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: %w", err)
	}
	if t := q.decodePeeked([]byte(oldest)); t != nil && !t.queued.IsZero() {
		s.OldestAge = max(s.time.Sub(t.queued).Seconds(), 0)
	}
	return s.Stats, nil
}

// Peek implements queue.Inspector: first delayed tasks, then the lists from their
// consuming end.
func (q *Queue) Peek(ctx context.Context, n int) ([]queue.Delivery, error) {
	var ds []queue.Delivery
	err := q.EachScheduled(ctx, func(t *UnackedTask) {
		if len(ds) < n {
			ds = append(ds, q.peekedDelivery(t.raw))
		}
	})
	for _, key := range q.allLists() {
		if err != nil || len(ds) >= n {
			break
		}
		var raws []string
		raws, err = q.client.LRange(ctx, key, -int64(n-len(ds)), -1).Result()
		for _, raw := range slices.Backward(raws) {
			ds = append(ds, q.peekedDelivery([]byte(raw)))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("peek: %w", redisstats.WrapError(err))
	}
	return ds, nil
}

// decodePeeked decodes a task, nil if it is not picket's.
func (q *Queue) decodePeeked(raw []byte) *UnackedTask {
	t := &UnackedTask{started: time.Now(), foreign: true}
	var err error
	if t.Task, err = q.decoder.Decode(raw); err != nil || q.readEvent(t, t.started) != nil {
		return nil
	}
	return t
}

// peekedDelivery returns a task as a delivery that is not leased, or the message itself if
// it is not a task of picket's.
func (q *Queue) peekedDelivery(raw []byte) queue.Delivery {
	t := q.decodePeeked(raw)
	if t == nil {
		return queue.Delivery{Message: queue.Message{Events: 1, Payload: raw}}
	}
	one := picket.Batch{ID: t.ID, Received: t.event.Received, Events: []picket.Event{t.event}}
	return queue.Delivery{Message: queue.Message{ID: t.ID, Events: 1, Payload: one.Encode(nil)}, Attempt: 1, Enqueued: t.queued}
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
	cmd, err := q.runScript(ctx, listDeadLettersScript, nil, before, n, queue.MaxDeadLetterPageBytes, maxPayloadBytes)
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
