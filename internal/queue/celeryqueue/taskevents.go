package celeryqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket/celery"
)

// maxTasksLoggedSingly is up to how many tasks at once are logged with a line each.
const maxTasksLoggedSingly = 16

// An Observer is called with what happens to the tasks of a queue. It must not block or
// keep the slices.
type Observer interface {
	// TasksReceived is called with all tasks received, and those among them that
	// began: the others are scheduled for later or revoked.
	TasksReceived(all, begun []*UnackedTask)
	// TasksFinished is called with tasks that ended, and with those that failed for
	// now and will run again, whose status is celery.Retry.
	TasksFinished([]*UnackedTask)
}

// SetObserver sets the observer. It is called at most once, before Receive.
func (q *Queue) SetObserver(o Observer) { q.observer = o }

// A nopObserver is the observer of a queue without one.
type nopObserver struct{}

func (nopObserver) TasksReceived(_, _ []*UnackedTask) {}
func (nopObserver) TasksFinished([]*UnackedTask)      {}

// notifyReceived logs and reports tasks that were claimed: those to run now, those to run
// later, and those that have finished without running.
func (q *Queue) notifyReceived(run, later, finished []*UnackedTask) {
	all := slices.Concat(run, later, finished)
	begun := slices.DeleteFunc(slices.Concat(run, finished), func(t *UnackedTask) bool { return t.Result.Status == celery.Revoked })
	switch {
	case len(all) == 0:
		return
	case len(all) <= maxTasksLoggedSingly:
		for _, t := range all {
			q.log.Info(fmt.Sprintf("Task %s received", t))
		}
	default:
		q.log.Info(fmt.Sprintf("Task %s[%d tasks] received", all[0].Name, len(all)))
	}
	q.observer.TasksReceived(all, begun)
}

// logFinished logs how tasks finished.
func (q *Queue) logFinished(tasks []*UnackedTask) {
	alerts, succeeded := 0, 0
	for _, t := range tasks {
		switch t.Result.Status {
		case celery.Revoked:
			q.log.Info(fmt.Sprintf("Discarding revoked task: %s", t), "cause", t.Result.Exception)
		case celery.Failure:
			q.log.Error(fmt.Sprintf("Task %s raised unexpected: %s", t, t.Result.Exception))
		default:
			succeeded++
			alerts += t.matches
			if len(tasks) <= maxTasksLoggedSingly {
				q.log.Info(fmt.Sprintf("Rule-based detection: %d alerts created", t.matches), "task", t.ID, "event", t.event.ID)
				q.log.Info(fmt.Sprintf("Task %s succeeded in %.6fs: %s", t, t.Runtime().Seconds(), t.ResultRepr()))
			}
		}
	}
	if len(tasks) > maxTasksLoggedSingly && succeeded > 0 {
		q.log.Info(fmt.Sprintf("Rule-based detection: %d alerts created", alerts), "tasks", succeeded)
		q.log.Info(fmt.Sprintf("Task %s[%d tasks] succeeded in %.6fs", tasks[0].Name, succeeded, tasks[0].Runtime().Seconds()))
	}
}

// reportRetried logs and reports tasks that will run again, and writes their results. A
// nil cause means that they did not begin.
func (q *Queue) reportRetried(ctx context.Context, tasks []*UnackedTask, cause error) error {
	if cause == nil || len(tasks) == 0 {
		return nil
	}
	for _, t := range tasks {
		t.raise(celery.Retry, "RuntimeError", cause.Error())
	}
	q.log.Warn(fmt.Sprintf("Task %s[%d tasks] retry: %s", tasks[0].Name, len(tasks), tasks[0].Result.Exception))
	q.observer.TasksFinished(tasks)
	return q.writeResults(ctx, tasks)
}

// String returns "name[id]", as Celery's log does.
func (t *UnackedTask) String() string { return fmt.Sprintf("%s[%s]", t.Name, t.ID) }

// ClaimedAt returns when the task was claimed.
func (t *UnackedTask) ClaimedAt() time.Time { return t.started }

// Runtime returns how long a finished task took.
func (t *UnackedTask) Runtime() time.Duration { return t.Result.Done.Sub(t.started) }

// ResultRepr returns Python's repr of the result of a success.
func (t *UnackedTask) ResultRepr() string {
	return fmt.Sprintf("{'status': 'success', 'event_id': %s, 'event_type': %s, 'alerts_created': %d}", celery.Repr(t.event.ID), celery.Repr(t.event.Type), t.matches)
}
