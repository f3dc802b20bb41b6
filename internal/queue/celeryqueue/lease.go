package celeryqueue

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// maintainInterval is how often expired leases are reclaimed and due tasks released.
const maintainInterval = 200 * time.Millisecond

// reclaimBatchTasks bounds how many tasks are returned to their lists at once.
const reclaimBatchTasks = 500

// maintain renews the leases of this queue, and returns to their lists the tasks that
// are due, that a lost worker held, and that others left unacknowledged. Every queue
// does this for all.
func (q *Queue) maintain() {
	tick := time.NewTicker(min(maintainInterval, q.opt.Lease/4))
	defer tick.Stop()
	var renewed time.Time
	down := false
	for {
		select {
		case <-q.open.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), redisurl.CommandTimeout)
		var errs []error
		if time.Since(renewed) > q.opt.Lease/4 {
			renewed = time.Now()
			errs = append(errs, q.renew(ctx), q.deleteExpiredRevocations(ctx))
		}
		err := errors.Join(append(errs, q.reclaim(ctx))...)
		cancel()
		if err != nil && !down {
			q.log.Warn("broker unreachable; retrying", "error", err)
		}
		down = err != nil
	}
}

// renew renews the leases of all tasks in flight, and their scores in Celery's unacked
// index, so that Celery does not redeliver them.
func (q *Queue) renew(ctx context.Context) error {
	args := []any{q.opt.Lease.Seconds()}
	q.EachInflight(func(t *UnackedTask) { args = append(args, t.tag) })
	if len(args) == 1 {
		return nil
	}
	_, err := q.runScript(ctx, renewScript, nil, args...)
	return err
}

// reclaim returns due, lost and unacknowledged tasks to their lists.
func (q *Queue) reclaim(ctx context.Context) error {
	cmd, err := q.runScript(ctx, overdueScript, nil, reclaimBatchTasks, q.set.VisibilityTimeout.Seconds())
	if err != nil {
		return err
	}
	out, err := cmd.StringSlice()
	if err != nil {
		return redisstats.WrapError(err)
	}
	tasks := make(map[string][]*UnackedTask) // by the reason
	for i := 0; i+2 < len(out); i += 3 {
		if t := q.decodeUnacked(out[i], out[i+2]); t != nil {
			tasks[out[i+1]] = append(tasks[out[i+1]], t)
		}
	}
	if lost := len(tasks["lost"]); lost > 0 {
		q.log.Warn("worker lost; its tasks will be redelivered", "tasks", lost)
	}
	return errors.Join(q.restore(ctx, tasks["lost"], attemptLost), q.restore(ctx, tasks["due"], notAttempted), q.restore(ctx, tasks["unseen"], attempted))
}

// decodeUnacked decodes an entry of the unacked hash. It returns nil for an entry that
// cannot be decoded, or whose task was sent to a named exchange: it stays where it is,
// for a Python worker.
func (q *Queue) decodeUnacked(tag, entry string) *UnackedTask {
	if entry == "" { // only its index entry or lease is left
		return &UnackedTask{Task: new(celery.Task), tag: tag, queue: q.set.Publish}
	}
	var parts []json.RawMessage
	var exchange, routingKey string
	if json.Unmarshal([]byte(entry), &parts) != nil || len(parts) != 3 ||
		json.Unmarshal(parts[1], &exchange) != nil || json.Unmarshal(parts[2], &routingKey) != nil || exchange != "" {
		return nil
	}
	t, _ := q.decoder.Decode(parts[0])
	if t == nil {
		t = new(celery.Task)
	}
	return &UnackedTask{Task: t, tag: tag, queue: routingKey, raw: parts[0]}
}

// An attemptOutcome says which attempt of a task restore and schedule count.
type attemptOutcome string

const (
	notAttempted attemptOutcome = ""
	attempted    attemptOutcome = "attempt"
	attemptLost  attemptOutcome = "lost" // an attempt whose worker was lost
)

// restore returns tasks to the head of their lists, which keeps their order.
func (q *Queue) restore(ctx context.Context, tasks []*UnackedTask, attempt attemptOutcome) error {
	if len(tasks) == 0 {
		return nil
	}
	var lists []string
	index := make(map[string]int) // in lists, from 1
	args := []any{string(attempt)}
	for i := len(tasks) - 1; i >= 0; i-- {
		t := tasks[i]
		list := q.set.Keys.List(t.queue, t.Priority)
		if index[list] == 0 {
			index[list] = len(index) + 1
			lists = append(lists, list)
		}
		args = append(args, t.tag, index[list], t.raw, t.ID)
	}
	_, err := q.runScript(ctx, restoreScript, lists, args...)
	return err
}

// schedule delays tasks until their ETA and, if attempted, counts an attempt of
// each.
func (q *Queue) schedule(ctx context.Context, tasks []*UnackedTask, attempt attemptOutcome) error {
	if len(tasks) == 0 {
		return nil
	}
	args := []any{string(attempt)}
	for _, t := range tasks {
		args = append(args, t.tag, float64(t.ETA.UnixMicro())/1e6, t.ID)
	}
	_, err := q.runScript(ctx, scheduleScript, nil, args...)
	return err
}

// maxListedScheduledTasks bounds the scheduled tasks that are examined, of which
// scheduledTasksPerRead are read at once.
const (
	maxListedScheduledTasks = 10_000
	scheduledTasksPerRead   = 500
)

// EachScheduled calls f with the tasks that are to run later, at their ETA, the first due
// first.
func (q *Queue) EachScheduled(ctx context.Context, f func(*UnackedTask)) error {
	for from := int64(0); from < maxListedScheduledTasks; from += scheduledTasksPerRead {
		due, err := q.client.ZRangeWithScores(ctx, q.set.OwnKey("parked"), from, from+scheduledTasksPerRead-1).Result()
		if err != nil || len(due) == 0 {
			return redisstats.WrapError(err)
		}
		tags := make([]string, len(due))
		for i := range due {
			tags[i] = due[i].Member.(string)
		}
		entries, err := q.client.HMGet(ctx, q.set.Keys.Unacked(), tags...).Result()
		if err != nil {
			return redisstats.WrapError(err)
		}
		for i := range entries {
			entry, _ := entries[i].(string)
			if t := q.decodeUnacked(tags[i], entry); t != nil && t.ID != "" {
				t.ETA = time.UnixMicro(int64(due[i].Score * 1e6))
				f(t)
			}
		}
	}
	return nil
}
