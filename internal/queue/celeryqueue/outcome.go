package celeryqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// A FinishedTask is a task and how it ended.
type FinishedTask struct {
	*Task
	Result  celery.Result
	Expired bool // it was revoked because it had expired

	deadLetters []queue.DeadLetter
}

// A taskResult is the result of a successful task, as the legacy task returns it.
type taskResult struct {
	Status  string `json:"status"`
	EventID string `json:"event_id"`
	Type    string `json:"event_type"`
	Alerts  int    `json:"alerts_created"`
}

func succeededTask(t *Task) FinishedTask {
	value, _ := json.Marshal(taskResult{"success", t.event.ID, t.event.Type, t.matches}) // strings and numbers always encode
	return FinishedTask{Task: t, Result: celery.Result{TaskID: t.ID, Status: celery.Success, Value: value, GroupID: t.GroupID, ParentID: t.ParentID}}
}

// pythonModuleOfException has the Python modules of exceptions that are not built in.
var pythonModuleOfException = map[string]string{
	"TaskRevokedError": "celery.exceptions", "NotRegistered": "celery.exceptions", "DecodeError": "kombu.exceptions",
	"WorkerLostError": "billiard.exceptions",
}

// raised returns how a task ended that raised an exception.
func raised(t *Task, status celery.Status, class, cause string) FinishedTask {
	exception := celery.NewException(class, cause)
	exception.Module = pythonModuleOfException[class]
	f := FinishedTask{Task: t, Result: celery.Result{TaskID: t.ID, Status: status, Exception: exception, GroupID: t.GroupID, ParentID: t.ParentID}}
	if status == celery.Failure {
		f.Result.Traceback = fmt.Sprintf("Traceback (most recent call last):\n  File \"picket\", in %s\n%s: %s\n", t.Name, class, cause)
	}
	return f
}

func expiredTask(t *Task) FinishedTask {
	f := raised(t, celery.Revoked, "TaskRevokedError", "expired")
	f.Expired = true
	return f
}

// rejectedTask returns the failure of a task that cannot run. Its dead letter holds the
// message as received.
func rejectedTask(t *Task, class string, err error) FinishedTask {
	// The cause need not say that it is invalid.
	cause := strings.TrimSuffix(err.Error(), ": "+picket.ErrInvalid.Error())
	if r, ok := errors.AsType[*celery.DecodeError](err); ok && r.Hint != "" {
		cause += "; " + r.Hint
	}
	f := raised(t, celery.Failure, class, cause)
	f.deadLetters = []queue.DeadLetter{{Reason: queue.Rejected, Cause: t.causeWithTask(cause), AgentID: t.event.AgentID, EventID: t.event.ID, Events: 1, Time: t.started, Payload: t.raw}}
	return f
}

// causeWithTask returns a cause with the task it concerns, as far as that is known.
func (t *Task) causeWithTask(cause string) string {
	if t.Name == "" && t.ID == "" {
		return "a message: " + cause
	}
	return t.String() + ": " + cause
}

// unregisteredTask returns the failure of a task that is not registered, in Celery's
// wording.
func unregisteredTask(t *Task) FinishedTask {
	f := rejectedTask(t, "NotRegistered", errors.New(t.Name))
	f.deadLetters[0].Cause = t.causeWithTask("no task of this name is registered here")
	return f
}

// refusedForFollowUps returns the failure of a task after which others are to run.
// Those would be lost if it ran.
func refusedForFollowUps(t *Task) FinishedTask {
	return rejectedTask(t, "NotImplementedError", fmt.Errorf("links, chains and chords are not supported, and the task has %s; send it alone, or run it on a Python worker",
		strings.Join(t.FollowUps(), " and ")))
}

// finish writes the results of tasks and removes the tasks, in this order: if the
// process dies in between, the tasks are run again.
func (q *Queue) finish(ctx context.Context, finished []FinishedTask) error {
	if len(finished) == 0 {
		return nil
	}
	now := time.Now()
	for i := range finished {
		finished[i].Result.Done = now
	}
	if err := q.writeResults(ctx, finished); err != nil {
		return err
	}
	args := []any{0, 0, len(finished)}
	var tried []any
	var deadLetters []queue.DeadLetter
	done, foreign := 0, 0
	for i := range finished {
		f := &finished[i]
		args = append(args, f.tag)
		if f.attempts > 0 {
			tried = append(tried, f.ID)
		}
		deadLetters = append(deadLetters, f.deadLetters...)
		if len(f.deadLetters) > 0 && f.deadLetters[0].Reason == queue.Rejected {
			continue
		}
		done++
		if f.foreign {
			foreign++
		}
	}
	args[0], args[1] = done, foreign
	args = append(append(args, len(tried)), tried...)
	args = appendDeadLetters(args, deadLetters)
	k := q.set.Keys
	if _, err := q.runScript(ctx, finishScript, []string{k.Unacked(), k.UnackedIndex(), q.set.OwnKey("leases"), q.set.OwnKey("counts"),
		q.set.OwnKey("rate"), q.set.OwnKey("dead"), q.set.OwnKey("tries"), q.set.OwnKey("lost")}, args...); err != nil {
		return err
	}
	q.logFinished(finished)
	if q.observer != nil {
		q.observer.TasksFinished(finished)
	}
	return nil
}

// resultChunk is how many results are written at once.
const resultChunk = 500

// writeResults writes and publishes the results of tasks as Celery does: it never
// overwrites a success.
func (q *Queue) writeResults(ctx context.Context, finished []FinishedTask) error {
	var keys []string
	var results []*celery.Result
	for i := range finished {
		if f := &finished[i]; q.results != nil && !f.IgnoreResult && f.ID != "" {
			keys = append(keys, q.set.Keys.Result(f.ID))
			results = append(results, &f.Result)
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), resultChunk)
		old, err := q.results.MGet(ctx, keys[:n]...).Result()
		if err != nil {
			return fmt.Errorf("write results: %w", redisstats.WrapError(err))
		}
		pipe := q.results.Pipeline()
		for i := range n {
			if stored, ok := old[i].(string); ok && celery.ResultStatus([]byte(stored)) == celery.Success {
				continue
			}
			value := results[i].Append(nil)
			pipe.Set(ctx, keys[i], value, q.set.ResultExpires)
			pipe.Publish(ctx, keys[i], value)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("write results: %w", redisstats.WrapError(err))
		}
		keys, results = keys[n:], results[n:]
	}
	return nil
}
