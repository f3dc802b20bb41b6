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
	status         celery.Status
	exceptionClass string // of the exception of a failure
	cause          string
	deadLetters    []queue.DeadLetter
}

func succeeded(t *Task) FinishedTask { return FinishedTask{Task: t, status: celery.Success} }

func failedWith(t *Task, class, cause string) FinishedTask {
	return FinishedTask{Task: t, status: celery.Failure, exceptionClass: class, cause: cause}
}

// deadLetterCause returns a cause with the task it concerns, as far as that is known.
func (t *Task) deadLetterCause(cause string) string {
	if t.Name == "" && t.ID == "" {
		return "a message: " + cause
	}
	return t.String() + ": " + cause
}

// causeExpired is the cause of a task that was revoked because it had expired.
const causeExpired = "expired"

func revokedTask(t *Task, cause string) FinishedTask {
	return FinishedTask{Task: t, status: celery.Revoked, exceptionClass: "TaskRevokedError", cause: cause}
}

// rejectedTask returns the failure of a task that cannot run. Its dead letter holds the
// message as received.
func rejectedTask(t *Task, class string, err error) FinishedTask {
	// The cause need not say that it is invalid.
	o := failedWith(t, class, strings.TrimSuffix(err.Error(), ": "+picket.ErrInvalid.Error()))
	if r, ok := errors.AsType[*celery.DecodeError](err); ok && r.Hint != "" {
		o.cause += "; " + r.Hint
	}
	o.deadLetters = []queue.DeadLetter{{Reason: queue.Rejected, Cause: t.deadLetterCause(o.cause), AgentID: t.event.AgentID, EventID: t.event.ID, Events: 1, Time: t.started, Payload: t.raw}}
	return o
}

// unregistered returns the failure of a task that is not registered, in Celery's
// wording.
func unregistered(t *Task) FinishedTask {
	o := rejectedTask(t, "NotRegistered", fmt.Errorf("%s", t.Name))
	o.deadLetters[0].Cause = t.deadLetterCause("no task of this name is registered here")
	return o
}

// withFollowUps returns the failure of a task after which others are to run. Those would
// be lost if it ran.
func withFollowUps(t *Task) FinishedTask {
	return rejectedTask(t, "NotImplementedError", fmt.Errorf("links, chains and chords are not supported, and the task has %s; send it alone, or run it on a Python worker",
		strings.Join(t.FollowUps(), " and ")))
}

// A taskResult is the result of a successful task, as the legacy task returns it.
type taskResult struct {
	Status  string `json:"status"`
	EventID string `json:"event_id"`
	Type    string `json:"event_type"`
	Alerts  int    `json:"alerts_created"`
}

// value returns the result as JSON.
func (o *FinishedTask) value() json.RawMessage {
	v, _ := json.Marshal(taskResult{"success", o.event.ID, o.event.Type, o.matches}) // strings and numbers always encode
	return v
}

// modules are the Python modules of exceptions that are not built in.
var modules = map[string]string{
	"TaskRevokedError": "celery.exceptions", "NotRegistered": "celery.exceptions", "DecodeError": "kombu.exceptions",
	"WorkerLostError": "billiard.exceptions",
}

func (o *FinishedTask) Exception() *celery.Exception {
	e := celery.NewException(o.exceptionClass, o.cause)
	e.Module = modules[o.exceptionClass]
	return e
}

// result returns the Celery result of the task.
func (o *FinishedTask) result(now time.Time) *celery.Result {
	r := &celery.Result{TaskID: o.ID, Status: o.status, GroupID: o.GroupID, ParentID: o.ParentID, Done: now}
	if o.status == celery.Success {
		r.Value = o.value()
	} else {
		r.Exception = o.Exception()
	}
	if o.status == celery.Failure {
		r.Traceback = o.Traceback()
	}
	return r
}

// Traceback returns a Python traceback of a failure.
func (o *FinishedTask) Traceback() string {
	return fmt.Sprintf("Traceback (most recent call last):\n  File \"picket\", in %s\n%s: %s\n", o.Name, o.exceptionClass, o.cause)
}

// finish writes the results of tasks and removes the tasks, in this order: if the
// process dies in between, the tasks are run again.
func (q *Queue) finish(ctx context.Context, finished []FinishedTask) error {
	if len(finished) == 0 {
		return nil
	}
	now := time.Now()
	if err := q.publishResults(ctx, finished, now); err != nil {
		return err
	}
	args := []any{0, 0, len(finished)}
	var tried []any
	var deadLetters []queue.DeadLetter
	done, foreign := 0, 0
	for i := range finished {
		o := &finished[i]
		args = append(args, o.tag)
		if o.attempts > 0 {
			tried = append(tried, o.ID)
		}
		deadLetters = append(deadLetters, o.deadLetters...)
		if len(o.deadLetters) > 0 && o.deadLetters[0].Reason == queue.Rejected {
			continue
		}
		done++
		if o.foreign {
			foreign++
		}
	}
	args[0], args[1] = done, foreign
	args = append(append(args, len(tried)), tried...)
	args = appendDeadLetters(args, deadLetters)
	k := q.set.Keys
	if _, err := q.runClosing(ctx, finishScript, []string{k.Unacked(), k.UnackedIndex(), q.set.Key("leases"), q.set.Key("counts"),
		q.set.Key("rate"), q.set.Key("dead"), q.set.Key("tries"), q.set.Key("lost")}, args...); err != nil {
		return err
	}
	q.taskFinished(finished, now)
	return nil
}

// resultChunk is how many results are written at once.
const resultChunk = 500

// publishResults writes the results of tasks.
func (q *Queue) publishResults(ctx context.Context, finished []FinishedTask, now time.Time) error {
	if q.results == nil {
		return nil
	}
	var keys []string
	var values [][]byte
	for i := range finished {
		o := &finished[i]
		if o.IgnoreResult || o.ID == "" {
			continue
		}
		keys = append(keys, q.set.Keys.Result(o.ID))
		values = append(values, o.result(now).Append(nil))
	}
	return q.writeResults(ctx, keys, values)
}

// writeResults writes and publishes results as Celery does: it never overwrites a
// success.
func (q *Queue) writeResults(ctx context.Context, keys []string, values [][]byte) error {
	for len(keys) > 0 {
		n := min(len(keys), resultChunk)
		old, err := q.results.MGet(ctx, keys[:n]...).Result()
		if err != nil {
			return fmt.Errorf("write results: %w", redisstats.WrapError(err))
		}
		pipe := q.results.Pipeline()
		for i := range n {
			if text, ok := old[i].(string); ok && hasSucceeded(text) {
				continue
			}
			pipe.Set(ctx, keys[i], values[i], q.set.ResultExpires)
			pipe.Publish(ctx, keys[i], values[i])
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("write results: %w", redisstats.WrapError(err))
		}
		keys, values = keys[n:], values[n:]
	}
	return nil
}

// hasSucceeded reports whether a stored result is a success.
func hasSucceeded(text string) bool {
	r, err := celery.DecodeResult([]byte(text))
	return err == nil && r.Status == celery.Success
}
