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
func (q *Queue) newDelivery(tasks []*Task) queue.Delivery {
	b := picket.Batch{ID: batchID(tasks), Events: make([]picket.Event, len(tasks))}
	d := queue.Delivery{Attempt: 1, Enqueued: tasks[0].started}
	for i, t := range tasks {
		b.Events[i] = t.event
		d.Attempt, d.Lost = max(d.Attempt, t.attempts+1), max(d.Lost, t.lost)
		if !t.queued.IsZero() && t.queued.Before(d.Enqueued) {
			d.Enqueued = t.queued
		}
	}
	b.Received = b.Events[0].Received
	d.Message = queue.Message{ID: b.ID, Events: len(tasks), Payload: b.Encode(nil)}
	for _, t := range tasks {
		t.event.Raw = nil // the payload has it
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.token++
	d.Receipt = q.token
	q.inflight[d.Receipt] = tasks
	return d
}

// batchID returns the id of a batch of tasks: the same tasks always have the same id.
// The id of a single task is its own.
func batchID(tasks []*Task) string {
	if len(tasks) == 1 {
		return tasks[0].ID
	}
	h := sha256.New()
	var p []byte
	for _, t := range tasks {
		p = append(append(p[:0], t.ID...), 0)
		p = append(append(p, t.event.Key()...), 0)
		h.Write(p)
	}
	return "tasks-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// findInflight returns the tasks of a delivery, nil if it is no longer the caller's.
func (q *Queue) findInflight(receipt int64) []*Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inflight[receipt]
}

// EachInflight calls f with each task in flight. f must not call the queue.
func (q *Queue) EachInflight(f func(*Task)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, tasks := range q.inflight {
		for _, t := range tasks {
			f(t)
		}
	}
}

func (q *Queue) dropInflight(receipt int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.inflight, receipt)
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
	var finished []FinishedTask
	for i := range ds {
		for _, t := range q.findInflight(ds[i].Receipt) {
			finished = append(finished, succeededTask(t))
		}
	}
	if err := q.finish(ctx, finished); err != nil {
		return fmt.Errorf("ack %d tasks: %w", len(finished), err)
	}
	for i := range ds {
		q.dropInflight(ds[i].Receipt)
	}
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

// Bury implements queue.Queue: the tasks of the dead-lettered events fail, the others
// succeed. A dead letter without event id concerns all tasks.
func (q *Queue) Bury(ctx context.Context, d queue.Delivery, deadLetters ...queue.DeadLetter) error {
	tasks := q.findInflight(d.Receipt)
	if tasks == nil {
		return nil
	}
	deadLetters = slices.Clone(deadLetters)
	cause := make(map[string]string, len(deadLetters))
	for i := range deadLetters {
		deadLetters[i].Reason = queue.Failed
		cause[deadLetterEventKey(&deadLetters[i])] = deadLetters[i].Cause
	}
	all, whole := cause[""]
	if e := &tasks[0].event; whole && len(tasks) == 1 {
		deadLetters[0].AgentID, deadLetters[0].EventID = e.AgentID, e.ID
	}
	class := "RuntimeError"
	if d.Lost >= queue.MaxLost {
		class = "WorkerLostError"
	}
	var finished []FinishedTask
	for _, t := range tasks {
		if why, failed := cause[t.event.Key()]; failed {
			finished = append(finished, raised(t, celery.Failure, class, why))
		} else if whole {
			finished = append(finished, raised(t, celery.Failure, class, all))
		} else {
			finished = append(finished, succeededTask(t))
		}
	}
	finished[0].deadLetters = deadLetters // stored together, whichever task they belong to
	if err := q.finish(ctx, finished); err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	q.dropInflight(d.Receipt)
	return nil
}

// Retry implements queue.Queue.
func (q *Queue) Retry(ctx context.Context, delay time.Duration, rs ...queue.Retry) error {
	var tasks []*Task
	var errs []error
	for i := range rs {
		d := &rs[i].Delivery
		retried := q.findInflight(d.Receipt)
		if retried == nil {
			continue
		}
		defer q.dropInflight(d.Receipt) // after an error too: the leases then expire
		errs = append(errs, q.reportRetried(ctx, retried, rs[i].Cause))
		tasks = append(tasks, retried...)
	}
	if delay <= 0 {
		errs = append(errs, q.returnTasks(ctx, tasks, true))
	} else {
		at := time.Now().Add(delay)
		for i, t := range tasks {
			t.ETA = at.Add(time.Duration(i) * time.Microsecond) // keeps the order
		}
		errs = append(errs, q.schedule(ctx, tasks, true))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("retry %d batches: %w", len(rs), err)
	}
	return nil
}

// schedule delays tasks until their ETA and, if countAttempt, counts an attempt of
// each.
func (q *Queue) schedule(ctx context.Context, tasks []*Task, countAttempt bool) error {
	if len(tasks) == 0 {
		return nil
	}
	var args []any
	for _, t := range tasks {
		id := ""
		if countAttempt {
			id = t.ID
		}
		args = append(args, t.tag, strconv.FormatFloat(float64(t.ETA.UnixMicro())/1e6, 'f', 6, 64), id)
	}
	k := q.set.Keys
	_, err := q.runScript(ctx, scheduleScript, []string{k.Unacked(), k.UnackedIndex(), q.set.OwnKey("leases"), q.set.OwnKey("parked"), q.set.OwnKey("tries")}, args...)
	return err
}

// returnTasks returns tasks to the head of their lists, which keeps their order and, if
// countAttempt, counts an attempt of each.
func (q *Queue) returnTasks(ctx context.Context, tasks []*Task, countAttempt bool) error {
	var back []returnedTask
	for i := len(tasks) - 1; i >= 0; i-- {
		t := tasks[i]
		back = append(back, returnedTask{tag: t.tag, list: q.set.Keys.List(t.at.queue, t.Priority), raw: t.raw})
		if countAttempt {
			back[len(back)-1].id = t.ID
		}
	}
	return q.runRestoreScript(ctx, back)
}

// A returnedTask is a task that returns to its list.
type returnedTask struct {
	tag, list string
	raw       []byte
	id        string // of the task if this counts as an attempt, else ""
	lost      bool   // its worker was lost
}

func (q *Queue) runRestoreScript(ctx context.Context, all []returnedTask) error {
	if len(all) == 0 {
		return nil
	}
	k := q.set.Keys
	keys := []string{k.Unacked(), k.UnackedIndex(), q.set.OwnKey("leases"), q.set.OwnKey("parked"), q.set.OwnKey("tries"), q.set.OwnKey("lost")}
	index := make(map[string]int)
	var args []any
	for _, r := range all {
		if index[r.list] == 0 {
			index[r.list] = len(index) + 1
			keys = append(keys, r.list)
		}
		lost := 0
		if r.lost {
			lost = 1
		}
		args = append(args, r.tag, index[r.list], r.raw, r.id, lost)
	}
	_, err := q.runScript(ctx, restoreScript, keys, args...)
	return err
}

// loadAttempts sets how often tasks were attempted and lost.
func (q *Queue) loadAttempts(ctx context.Context, run []*Task) error {
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
