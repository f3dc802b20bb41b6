package worker

import (
	"context"
	"time"

	"github.com/picket-edr/picket/internal/store"
)

// Report tells the fleet about the worker until ctx ends:
// me as it is at the start, and what rules returns, the revision that it runs.
func (w *Worker) Report(ctx context.Context, fleet store.Coordination, me store.Worker, rules func() string) {
	me.Started = time.Now()
	tick := time.NewTicker(store.WorkerTimeout / 3)
	defer tick.Stop()
	down := false
	for {
		me.Concurrency, me.RulesRevision, me.LastSeen, me.Events = w.Concurrency(), rules(), time.Now(), w.Metrics().Events
		err := fleet.ReportWorker(ctx, me)
		if err != nil && ctx.Err() == nil && !down {
			w.log.Warn("worker not reported; trying again", "error", err)
		}
		down = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
