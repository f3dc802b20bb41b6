package celeryqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// newFinishedTask returns a task with a result of a status.
func newFinishedTask(t *Task, status celery.Status) FinishedTask {
	return FinishedTask{Task: t, Result: celery.Result{TaskID: t.ID, Status: status, GroupID: t.GroupID, ParentID: t.ParentID}}
}

// succeededTask returns a task with the result that the legacy task returns.
func succeededTask(t *Task) FinishedTask {
	f := newFinishedTask(t, celery.Success)
	f.Result.Value, _ = json.Marshal(struct { // strings and numbers always encode
		Status  string `json:"status"`
		EventID string `json:"event_id"`
		Type    string `json:"event_type"`
		Alerts  int    `json:"alerts_created"`
	}{"success", t.event.ID, t.event.Type, t.matches})
	return f
}

// pythonModuleOfException has the Python modules of exceptions that are not built in.
var pythonModuleOfException = map[string]string{
	"TaskRevokedError": "celery.exceptions", "NotRegistered": "celery.exceptions", "DecodeError": "kombu.exceptions",
	"WorkerLostError": "billiard.exceptions",
}

// raised returns how a task ended that raised an exception.
func raised(t *Task, status celery.Status, class, cause string) FinishedTask {
	f := newFinishedTask(t, status)
	f.Result.Exception = celery.NewException(class, cause)
	f.Result.Exception.Module = pythonModuleOfException[class]
	if status == celery.Failure {
		f.Result.Traceback = fmt.Sprintf("Traceback (most recent call last):\n  File \"picket\", in %s\n%s: %s\n", t.Name, class, cause)
	}
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
	name := "a message"
	if t.Name != "" || t.ID != "" {
		name = t.String()
	}
	if class == "NotRegistered" { // Celery's wording is the name alone
		cause = "no task of this name is registered here"
	}
	f.deadLetters = []queue.DeadLetter{{Reason: queue.Rejected, Cause: name + ": " + cause, AgentID: t.event.AgentID, EventID: t.event.ID,
		Events: 1, Time: t.started, Payload: t.raw}}
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
	var tags, tried []any
	var deadLetters []queue.DeadLetter
	done, foreign := 0, 0
	for i := range finished {
		f := &finished[i]
		tags = append(tags, f.tag)
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
	args := append([]any{done, foreign, len(tags)}, tags...)
	args = append(append(args, len(tried)), tried...)
	args = appendDeadLetters(args, deadLetters)
	if _, err := q.runScript(ctx, finishScript, nil, args...); err != nil {
		return err
	}
	q.logFinished(finished)
	q.observer.TasksFinished(finished)
	return nil
}

// resultChunk is how many results are written at once.
const resultChunk = 500

// writeResults writes and publishes the results of tasks as Celery does: it never
// overwrites a success.
func (q *Queue) writeResults(ctx context.Context, finished []FinishedTask) error {
	if q.results == nil {
		return nil
	}
	for chunk := range slices.Chunk(finished, resultChunk) {
		var keys []string
		var results []*celery.Result
		for i := range chunk {
			if f := &chunk[i]; !f.IgnoreResult && f.ID != "" {
				keys, results = append(keys, q.set.Keys.Result(f.ID)), append(results, &f.Result)
			}
		}
		if len(keys) == 0 {
			continue
		}
		old, err := q.results.MGet(ctx, keys...).Result()
		pipe := q.results.Pipeline()
		for i := range old {
			if stored, ok := old[i].(string); ok && celery.ResultStatus([]byte(stored)) == celery.Success {
				continue
			}
			value := results[i].Append(nil)
			pipe.Set(ctx, keys[i], value, q.set.ResultExpires)
			pipe.Publish(ctx, keys[i], value)
		}
		if err == nil {
			_, err = pipe.Exec(ctx)
		}
		if err != nil {
			return fmt.Errorf("write results: %w", redisstats.WrapError(err))
		}
	}
	return nil
}
