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

// An FinishedTask is how a task ended.
type FinishedTask struct {
	*Task
	status         celery.Status
	exceptionClass string // of the exception, where it failed
	cause          string
	letters        []queue.DeadLetter

	children []celery.ResultChild // the tasks that follow
}

func succeeded(t *Task) FinishedTask { return FinishedTask{Task: t, status: celery.Success} }

func failedWith(t *Task, class, cause string) FinishedTask {
	return FinishedTask{Task: t, status: celery.Failure, exceptionClass: class, cause: cause}
}

// deadLetterCause is a cause with the task that it is about, as far as that is known.
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

// rejectedTask is the outcome of a task that cannot be run as it is. The message
// stands in the letter as it came.
func rejectedTask(t *Task, class string, err error) FinishedTask {
	// That it is invalid goes without saying here.
	o := failedWith(t, class, strings.TrimSuffix(err.Error(), ": "+picket.ErrInvalid.Error()))
	if r, ok := errors.AsType[*celery.DecodeError](err); ok && r.Hint != "" {
		o.cause += "; " + r.Hint
	}
	o.letters = []queue.DeadLetter{{Reason: queue.Rejected, Cause: t.deadLetterCause(o.cause), AgentID: t.event.AgentID, EventID: t.event.ID, Events: 1, Time: t.started, Payload: t.raw}}
	return o
}

// unregistered is the outcome of a task that is none of picket's, in Celery's
// words.
func unregistered(t *Task) FinishedTask {
	o := rejectedTask(t, "NotRegistered", fmt.Errorf("%s", t.Name))
	o.letters[0].Cause = t.deadLetterCause("no task of this name is registered here")
	return o
}

// An taskResult is what a task that succeeded returns: the replaced system's.
type taskResult struct {
	Status  string `json:"status"`
	EventID string `json:"event_id"`
	Type    string `json:"event_type"`
	Alerts  int    `json:"alerts_created"`
}

// value is the JSON of an outcome's answer.
func (o *FinishedTask) value() json.RawMessage {
	v, _ := json.Marshal(taskResult{"success", o.event.ID, o.event.Type, o.matches}) // strings and a number always can be
	return v
}

// modules are where Python has its exceptions that are not built in.
var modules = map[string]string{
	"TaskRevokedError": "celery.exceptions", "NotRegistered": "celery.exceptions", "DecodeError": "kombu.exceptions",
	"WorkerLostError": "billiard.exceptions",
}

func (o *FinishedTask) Exception() *celery.Exception {
	e := celery.NewException(o.exceptionClass, o.cause)
	e.Module = modules[o.exceptionClass]
	return e
}

// result is an outcome as it is told to who waits for it.
func (o *FinishedTask) result(now time.Time) *celery.Result {
	r := &celery.Result{TaskID: o.ID, Status: o.status, Children: o.children, GroupID: o.GroupID, ParentID: o.ParentID, Done: now}
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

// Traceback is what Python would print of where a task failed.
func (o *FinishedTask) Traceback() string {
	return fmt.Sprintf("Traceback (most recent call last):\n  File \"picket\", in %s\n%s: %s\n", o.Name, o.exceptionClass, o.cause)
}

// finish sends what is to follow, writes results, and lets go of the tasks, in
// this order: who dies in between has them done once more.
func (q *Queue) finish(ctx context.Context, over []FinishedTask) error {
	if len(over) == 0 {
		return nil
	}
	now := time.Now()
	if err := q.publishFollowUps(ctx, over); err != nil {
		return err
	}
	if err := q.publishResults(ctx, over, now); err != nil {
		return err
	}
	args := []any{0, 0, len(over)}
	var tried []any
	var letters []queue.DeadLetter
	done, foreign := 0, 0
	for i := range over {
		o := &over[i]
		args = append(args, o.tag)
		if o.attempts > 0 {
			tried = append(tried, o.ID)
		}
		letters = append(letters, o.letters...)
		if len(o.letters) > 0 && o.letters[0].Reason == queue.Rejected {
			continue
		}
		done++
		if o.foreign {
			foreign++
		}
	}
	args[0], args[1] = done, foreign
	args = append(append(args, len(tried)), tried...)
	args = appendLetters(args, letters)
	k := q.set.keys
	if _, err := q.runClosing(ctx, finishScript, []string{k.Unacked(), k.UnackedIndex(), q.set.key("leases"), q.set.key("counts"),
		q.set.key("rate"), q.set.key("dead"), q.set.key("tries"), q.set.key("lost")}, args...); err != nil {
		return err
	}
	q.taskFinished(over, now)
	return nil
}

// resultChunk is how many results are written at once.
const resultChunk = 500

// publishResults writes the results of tasks.
func (q *Queue) publishResults(ctx context.Context, over []FinishedTask, now time.Time) error {
	if q.results == nil {
		return nil
	}
	var keys []string
	var values [][]byte
	for i := range over {
		o := &over[i]
		if o.IgnoreResult || o.ID == "" {
			continue
		}
		// A chain that ends here tells who waits for its end.
		if o.status != celery.Success {
			for _, t := range o.AbortedChain() {
				if t.ID != "" {
					r := o.result(now)
					r.TaskID, r.Children = t.ID, nil
					keys = append(keys, q.set.keys.Result(t.ID))
					values = append(values, r.Append(nil))
				}
			}
		}
		keys = append(keys, q.set.keys.Result(o.ID))
		values = append(values, o.result(now).Append(nil))
	}
	return q.writeResults(ctx, keys, values)
}

// writeResults writes results, each as Celery does: not over one that
// succeeded, and published to who waits for it.
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
			pipe.Set(ctx, keys[i], values[i], q.set.expires)
			pipe.Publish(ctx, keys[i], values[i])
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("write results: %w", redisstats.WrapError(err))
		}
		keys, values = keys[n:], values[n:]
	}
	return nil
}

// hasSucceeded reports whether a result is that of a success.
func hasSucceeded(text string) bool {
	r, err := celery.DecodeResult([]byte(text))
	return err == nil && r.Status == celery.Success
}
