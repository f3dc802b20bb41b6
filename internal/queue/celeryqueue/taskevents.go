package celeryqueue

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/picket-edr/picket/celery"
)

// maxLoggedTasks is up to how many tasks at once each has its own line in the log.
const maxLoggedTasks = 16

// consumed are the queues that are consumed now.
func (q *Queue) consumed() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string{}, q.queues...)
}

// inflightCount is how many tasks are held.
func (q *Queue) inflightCount() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, h := range q.inflight {
		n += len(h.tasks)
	}
	return n
}

// taskReceived tells of tasks that were taken: those that are run now, those that
// are kept back, and those that are not run at all.
func (q *Queue) taskReceived(run, later []*task, over []finishedTask) {
	all := append(append([]*task{}, run...), later...)
	for i := range over {
		all = append(all, over[i].task)
	}
	if len(all) == 0 {
		return
	}
	if len(all) <= maxLoggedTasks {
		for _, t := range all {
			q.log.Info(fmt.Sprintf("Task %s received", t))
		}
	} else {
		q.log.Info(fmt.Sprintf("Task %s[%d tasks] received", all[0].Name, len(all)))
	}
	n := q.node.Load()
	if n == nil {
		return
	}
	n.count(all)
	if !n.eventsEnabled.Load() {
		return
	}
	for _, t := range all {
		e := n.event("task-received")
		e.UUID, e.RootID, e.ParentID, e.Name, e.Args, e.Kwargs = t.ID, t.RootID, t.ParentID, t.Name, t.ArgsRepr, t.KwargsRepr
		e.Retries, e.ETA, e.Expires = t.Retries, t.ETA, t.Expires
		if t.Shadow != "" {
			e.Name = t.Shadow
		}
		n.emit(e)
	}
	begun := append([]*task{}, run...)
	for i := range over {
		if over[i].status == celery.Failure { // of one that is revoked nothing was begun
			begun = append(begun, over[i].task)
		}
	}
	for _, t := range begun {
		e := n.event("task-started")
		e.UUID = t.ID
		n.emit(e)
	}
}

// count counts tasks that were taken.
func (n *node) count(all []*task) {
	n.processed.Add(int64(len(all)))
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range all {
		n.total[t.Name]++
	}
}

// taskFinished tells how tasks ended.
func (q *Queue) taskFinished(over []finishedTask, now time.Time) {
	alerts, done := 0, 0
	for i := range over {
		o := &over[i]
		switch {
		case o.status == celery.Revoked:
			q.log.Info(fmt.Sprintf("Discarding revoked task: %s", o), "cause", o.cause)
		case o.status == celery.Failure:
			q.log.Error(fmt.Sprintf("Task %s raised unexpected: %s", o, o.exception()))
		default:
			done++
			alerts += o.matches
			if len(over) <= maxLoggedTasks {
				q.log.Info(fmt.Sprintf("Rule-based detection: %d alerts created", o.matches), "task", o.ID, "event", o.event.ID)
				q.log.Info(fmt.Sprintf("Task %s succeeded in %.6fs: %s", o, now.Sub(o.started).Seconds(), celery.Repr(nil, o.value(), 0)))
			}
		}
	}
	if len(over) > maxLoggedTasks && done > 0 {
		q.log.Info(fmt.Sprintf("Rule-based detection: %d alerts created", alerts), "tasks", done)
		q.log.Info(fmt.Sprintf("Task %s[%d tasks] succeeded in %.6fs", over[0].Name, done, now.Sub(over[0].started).Seconds()))
	}
	if n := q.node.Load(); n != nil && n.eventsEnabled.Load() {
		for i := range over {
			n.emit(n.endedEvent(&over[i], now))
		}
	}
}

func (n *node) endedEvent(o *finishedTask, now time.Time) celery.Event {
	var e celery.Event
	switch o.status {
	case celery.Success:
		e = n.event("task-succeeded")
		e.Result, e.Runtime = string(celery.Repr(nil, o.value(), 0)), now.Sub(o.started)
	case celery.Revoked:
		e = n.event("task-revoked")
		e.Expired = o.cause == "expired"
	default:
		e = n.event("task-failed")
		e.Exception, e.Traceback = o.exception().String(), o.traceback()
	}
	e.UUID = o.ID
	return e
}

// taskRetried tells of tasks that could not be done yet.
func (q *Queue) taskRetried(ctx context.Context, tasks []*task, cause error) error {
	if cause == nil {
		return nil // they were not begun
	}
	why := celery.NewException("RuntimeError", cause.Error())
	q.log.Warn(fmt.Sprintf("Task %s[%d tasks] retry: %s", tasks[0].Name, len(tasks), why))
	var keys []string
	var values [][]byte
	n := q.node.Load()
	for _, t := range tasks {
		if !t.IgnoreResult && q.results != nil {
			r := celery.Result{TaskID: t.ID, Status: celery.Retry, Exception: why, GroupID: t.GroupID, ParentID: t.ParentID}
			keys, values = append(keys, q.set.keys.Result(t.ID)), append(values, r.Append(nil))
		}
		if n != nil && n.eventsEnabled.Load() {
			e := n.event("task-retried")
			e.UUID, e.Exception = t.ID, why.String()
			n.emit(e)
		}
	}
	return q.writeResults(ctx, keys, values)
}

// checkTimeLimits tells of tasks that take longer than they may. They go on: their events
// were accepted.
func (n *node) checkTimeLimits() {
	n.mu.Lock()
	soft, hard := n.soft, n.hard
	n.mu.Unlock()
	now := time.Now()
	n.q.eachInflight(func(t *task) {
		limit := cmp.Or(t.SoftLimit, soft, t.HardLimit, hard)
		if took := now.Sub(t.started); limit > 0 && took > limit && !t.warnedLate {
			t.warnedLate = true
			n.q.log.Warn(fmt.Sprintf("Soft time limit (%s) exceeded for %s", limit, t), "took", took)
		}
	})
}

func (t *task) String() string { return fmt.Sprintf("%s[%s]", t.Name, t.ID) }
