package main

import (
	"context"
	"log/slog"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/worker"
)

// An eagerQueue processes each batch before Enqueue returns, for --eager. The
// batch goes through the queue all the same, so that it is counted, and so that
// a worker retries what fails. The worker that receives a batch that has been
// processed already finds it saved, and changes nothing.
type eagerQueue struct {
	queue ingest.Enqueuer
	work  *worker.Worker
	log   *slog.Logger
}

// Enqueue returns nil once m is durable, as every queue does.
func (e eagerQueue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	if err := e.queue.Enqueue(ctx, m, rejected...); err != nil {
		return err
	}
	if m.Events == 0 {
		return nil
	}
	if err := e.work.Handle(ctx, m); err != nil {
		e.log.Warn("eager processing failed; a worker will retry", "batch", m.ID, "error", err)
	}
	return nil
}
