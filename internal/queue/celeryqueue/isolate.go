package celeryqueue

import (
	"context"
	"slices"
	"time"

	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
)

// holdBackSuspects returns the tasks of run that can be delivered together, and puts
// the others back. A task that was lost IsolateAfter times may be what killed
// its workers, so it is delivered alone: now, if nothingLeased.
func (q *Queue) holdBackSuspects(ctx context.Context, run []*UnackedTask, nothingLeased bool) ([]*UnackedTask, error) {
	suspect := func(t *UnackedTask) bool { return t.lost >= queue.IsolateAfterLost }
	if len(run) == 0 {
		return nil, nil
	}
	q.isolating.Store(slices.ContainsFunc(run, suspect))
	if nothingLeased && suspect(run[0]) {
		return run[:1], q.restore(ctx, run[1:], notAttempted)
	}
	var deliver, back []*UnackedTask
	for _, t := range run {
		if suspect(t) {
			back = append(back, t)
		} else {
			deliver = append(deliver, t)
		}
	}
	return deliver, q.restore(ctx, back, notAttempted)
}

// waitIdleForIsolation waits until nothing is leased, for queue.MaxIsolationWait at most.
func (q *Queue) waitIdleForIsolation(ctx context.Context) error {
	for deadline := time.Now().Add(queue.MaxIsolationWait); time.Now().Before(deadline); {
		leased := 0
		q.EachInflight(func(*UnackedTask) { leased++ })
		if leased == 0 {
			break
		}
		backoff.Sleep(ctx, minPollInterval)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
