package worker

import (
	"context"
	"time"

	"github.com/picket-edr/picket/internal/store"
)

// SendHeartbeats reports the worker to the other processes until ctx ends. me
// describes it at the start, and rulesRevision returns the rules it runs.
func (w *Worker) SendHeartbeats(ctx context.Context, to store.Coordination, me store.Worker, rulesRevision func() string) {
	me.Started = time.Now()
	tick := time.NewTicker(store.WorkerTimeout / 3)
	defer tick.Stop()
	failing := false
	for {
		me.Concurrency, me.RulesRevision, me.LastSeen, me.Events = w.Concurrency(), rulesRevision(), time.Now(), w.Metrics().Events
		err := to.ReportWorker(ctx, me)
		if err != nil && ctx.Err() == nil && !failing {
			w.log.Warn("worker heartbeat failed; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
