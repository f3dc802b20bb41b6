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

// setResult sets a result that has only a status.
func (t *UnackedTask) setResult(status celery.Status) {
	t.deadLetters = nil
	t.Result = celery.Result{TaskID: t.ID, Status: status, GroupID: t.GroupID, ParentID: t.ParentID}
}

// succeed sets the result that the legacy task returns.
func (t *UnackedTask) succeed() {
	t.setResult(celery.Success)
	t.Result.Value, _ = json.Marshal(struct { // strings and numbers always encode
		Status  string `json:"status"`
		EventID string `json:"event_id"`
		Type    string `json:"event_type"`
		Alerts  int    `json:"alerts_created"`
	}{"success", t.event.ID, t.event.Type, t.matches})
}

// pythonModuleOfException has the Python modules of exceptions that are not built in.
var pythonModuleOfException = map[string]string{
	"TaskRevokedError": "celery.exceptions", "NotRegistered": "celery.exceptions", "DecodeError": "kombu.exceptions",
	"WorkerLostError": "billiard.exceptions",
}

// raise sets the result of a task that raised an exception.
func (t *UnackedTask) raise(status celery.Status, class, cause string) {
	t.setResult(status)
	t.Result.Exception = celery.NewException(class, cause)
	t.Result.Exception.Module = pythonModuleOfException[class]
	if status == celery.Failure {
		t.Result.Traceback = fmt.Sprintf("Traceback (most recent call last):\n  File \"picket\", in %s\n%s: %s\n", t.Name, class, cause)
	}
}

// reject sets the failure of a task that cannot run. Its dead letter holds the message as
// received.
func (t *UnackedTask) reject(class string, err error) {
	// The cause need not say that it is invalid.
	cause := strings.TrimSuffix(err.Error(), ": "+picket.ErrInvalid.Error())
	if r, ok := errors.AsType[*celery.DecodeError](err); ok && r.Hint != "" {
		cause += "; " + r.Hint
	}
	t.raise(celery.Failure, class, cause)
	name := "a message"
	if t.Name != "" || t.ID != "" {
		name = t.String()
	}
	if class == "NotRegistered" { // Celery's wording is the name alone
		cause = "no task of this name is registered here"
	}
	t.deadLetters = []queue.DeadLetter{{Reason: queue.Rejected, Cause: name + ": " + cause, AgentID: t.event.AgentID, EventID: t.event.ID,
		Events: 1, Time: t.started, Payload: t.raw}}
}

// finish writes the results of tasks and removes the tasks, in this order: if the
// process dies in between, the tasks are run again.
func (q *Queue) finish(ctx context.Context, tasks []*UnackedTask) error {
	if len(tasks) == 0 {
		return nil
	}
	now := time.Now()
	for _, t := range tasks {
		t.Result.Done = now
	}
	if err := q.writeResults(ctx, tasks); err != nil {
		return err
	}
	var tags, tried []any
	var deadLetters []queue.DeadLetter
	done, foreign := 0, 0
	for _, t := range tasks {
		tags = append(tags, t.tag)
		if t.attempts > 0 {
			tried = append(tried, t.ID)
		}
		deadLetters = append(deadLetters, t.deadLetters...)
		if len(t.deadLetters) > 0 && t.deadLetters[0].Reason == queue.Rejected {
			continue
		}
		done++
		if t.foreign {
			foreign++
		}
	}
	args := append([]any{done, foreign, len(tags)}, tags...)
	args = append(append(args, len(tried)), tried...)
	if _, err := q.runScript(ctx, finishScript, nil, appendDeadLetters(args, deadLetters)...); err != nil {
		return err
	}
	q.logFinished(tasks)
	q.observer.TasksFinished(tasks)
	return nil
}

// resultChunk is how many results are written at once.
const resultChunk = 500

// writeResults writes and publishes the results of tasks as Celery does: it never
// overwrites a success.
func (q *Queue) writeResults(ctx context.Context, tasks []*UnackedTask) error {
	tasks = slices.DeleteFunc(slices.Clone(tasks), func(t *UnackedTask) bool { return t.IgnoreResult || t.ID == "" })
	if q.results == nil {
		return nil
	}
	for chunk := range slices.Chunk(tasks, resultChunk) {
		keys := make([]string, len(chunk))
		for i, t := range chunk {
			keys[i] = q.set.Keys.Result(t.ID)
		}
		old, err := q.results.MGet(ctx, keys...).Result()
		pipe := q.results.Pipeline()
		for i := range old {
			if stored, ok := old[i].(string); ok && celery.ResultStatus([]byte(stored)) == celery.Success {
				continue
			}
			value := chunk[i].Result.Append(nil)
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
