package main

import (
	"context"
	"log/slog"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/worker"
)

// eagerQueue is a queue whose messages are worked off before Enqueue returns:
// --eager. They go through the queue all the same, so that they are counted,
// and so that what can't be done at once is done by a worker. The worker that
// gets the message as well finds its batch saved, and changes nothing.
type eagerQueue struct {
	queue ingest.Enqueuer
	work  *worker.Worker
	log   *slog.Logger
}

// Enqueue returns nil when m is durable, like any queue's.
func (e eagerQueue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	if err := e.queue.Enqueue(ctx, m, rejected...); err != nil {
		return err
	}
	if m.Events == 0 {
		return nil
	}
	if err := e.work.Handle(ctx, m); err != nil {
		e.log.Warn("answered before detection; a worker tries again", "batch", m.ID, "error", err)
	}
	return nil
}
