package celeryqueue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// newDelivery returns a delivery of tasks.
func (q *Queue) newDelivery(tasks []*UnackedTask) queue.Delivery {
	b := picket.Batch{ID: batchID(tasks), Received: tasks[0].event.Received, Events: make([]picket.Event, len(tasks))}
	d := queue.Delivery{Attempt: 1, Enqueued: tasks[0].started}
	for i, t := range tasks {
		b.Events[i] = t.event
		d.Attempt, d.Lost = max(d.Attempt, t.attempts+1), max(d.Lost, t.lost)
		if !t.queued.IsZero() && t.queued.Before(d.Enqueued) {
			d.Enqueued = t.queued
		}
	}
	d.Message = queue.Message{ID: b.ID, Events: len(tasks), Payload: b.Encode(nil)}
	for _, t := range tasks {
		t.event.Raw = nil // the payload has it
	}
	d.Receipt = q.lastReceipt.Add(1)
	q.inflight.Store(d.Receipt, tasks)
	return d
}

// batchID returns the id of a batch of tasks: the same tasks always have the same id.
// The id of a single task is its own.
func batchID(tasks []*UnackedTask) string {
	if len(tasks) == 1 {
		return tasks[0].ID
	}
	h := sha256.New()
	for _, t := range tasks {
		h.Write([]byte(t.ID + "\x00" + t.event.Key() + "\x00"))
	}
	return "tasks-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// findInflight returns the tasks of a delivery, nil if it is no longer the caller's.
func (q *Queue) findInflight(receipt int64) []*UnackedTask {
	tasks, _ := q.inflight.Load(receipt)
	found, _ := tasks.([]*UnackedTask)
	return found
}

// EachInflight calls f with each task in flight.
func (q *Queue) EachInflight(f func(*UnackedTask)) {
	for _, tasks := range q.inflight.Range {
		for _, t := range tasks.([]*UnackedTask) {
			f(t)
		}
	}
}

// ReportResult implements queue.ResultReporter.
func (q *Queue) ReportResult(d queue.Delivery, matches []picket.Match) {
	if len(matches) == 0 {
		return
	}
	found := make(map[string]int, len(matches))
	for i := range matches {
		found[matches[i].EventKey()]++
	}
	for _, t := range q.findInflight(d.Receipt) {
		t.matches += found[t.event.Key()]
	}
}

// Ack implements queue.Queue: the tasks of the deliveries succeed.
func (q *Queue) Ack(ctx context.Context, ds ...queue.Delivery) error {
	var tasks []*UnackedTask
	for i := range ds {
		tasks = append(tasks, q.findInflight(ds[i].Receipt)...)
	}
	for _, t := range tasks {
		t.succeed()
	}
	if err := q.finish(ctx, tasks); err != nil {
		return fmt.Errorf("ack %d tasks: %w", len(tasks), err)
	}
	for i := range ds {
		q.inflight.Delete(ds[i].Receipt)
	}
	return nil
}

// Bury implements queue.Queue: the tasks of the dead-lettered events fail, the others
// succeed. A dead letter without event id concerns all tasks.
func (q *Queue) Bury(ctx context.Context, d queue.Delivery, deadLetters ...queue.DeadLetter) error {
	tasks := q.findInflight(d.Receipt)
	if tasks == nil {
		return nil
	}
	deadLetters = slices.Clone(deadLetters)
	causes := make(map[string]string, len(deadLetters)) // by the key of the event
	for i := range deadLetters {
		l := &deadLetters[i]
		l.Reason = queue.Failed
		causes[deadLetterEventKey(l)] = l.Cause
		if l.EventID == "" && len(tasks) == 1 {
			l.AgentID, l.EventID = tasks[0].event.AgentID, tasks[0].event.ID
		}
	}
	class := "RuntimeError"
	if d.Lost >= queue.MaxLost {
		class = "WorkerLostError"
	}
	for _, t := range tasks {
		cause, failed := causes[t.event.Key()]
		if !failed {
			cause, failed = causes[""]
		}
		if failed {
			t.raise(celery.Failure, class, cause)
		} else {
			t.succeed()
		}
	}
	tasks[0].deadLetters = deadLetters // stored together, whichever task they belong to
	if err := q.finish(ctx, tasks); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	q.inflight.Delete(d.Receipt)
	return nil
}

// deadLetterEventKey returns the key of the event of a dead letter, "" if it has none.
func deadLetterEventKey(l *queue.DeadLetter) string {
	if l.EventID == "" {
		return ""
	}
	if b, err := picket.DecodeBatch(l.Payload); err == nil && len(b.Events) == 1 {
		return b.Events[0].Key()
	}
	return l.EventID
}

// Retry implements queue.Queue.
func (q *Queue) Retry(ctx context.Context, delay time.Duration, rs ...queue.Retry) error {
	var tasks []*UnackedTask
	var errs []error
	for i := range rs {
		receipt := rs[i].Delivery.Receipt
		defer q.inflight.Delete(receipt) // after an error too: the leases then expire
		retried := q.findInflight(receipt)
		errs = append(errs, q.reportRetried(ctx, retried, rs[i].Cause))
		tasks = append(tasks, retried...)
	}
	if delay <= 0 {
		errs = append(errs, q.restore(ctx, tasks, attempted))
	} else {
		at := time.Now().Add(delay)
		for i, t := range tasks {
			t.ETA = at.Add(time.Duration(i) * time.Microsecond) // keeps the order
		}
		errs = append(errs, q.schedule(ctx, tasks, attempted))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("retry %d batches: %w", len(rs), err)
	}
	return nil
}

// loadDeliveryCounts sets how often tasks were attempted and lost.
func (q *Queue) loadDeliveryCounts(ctx context.Context, run []*UnackedTask) error {
	if len(run) == 0 {
		return nil
	}
	ids := make([]string, len(run))
	for i, t := range run {
		ids[i] = t.ID
	}
	pipe := q.client.Pipeline()
	tries, lost := pipe.HMGet(ctx, q.set.OwnKey("tries"), ids...), pipe.HMGet(ctx, q.set.OwnKey("lost"), ids...)
	if _, err := pipe.Exec(ctx); err != nil {
		return redisstats.WrapError(err)
	}
	number := func(v any) int { text, _ := v.(string); n, _ := strconv.Atoi(text); return n }
	for i, t := range run {
		t.attempts, t.lost = number(tries.Val()[i]), number(lost.Val()[i])
	}
	return nil
}
