package worker

import (
	"context"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// settle acks the batches that were saved completely and buries the others. It
// retries until ctx ends, because a message that is neither acked nor buried
// stays leased.
func (w *Worker) settle(ctx context.Context, g *deliveryGroup) {
	var complete []queue.Delivery
	for _, p := range g.pending {
		if w.opt.Results != nil {
			for i := range p.saves {
				w.opt.Results.ReportResult(p.delivery, p.saves[i].Matches)
			}
			if p.inParts {
				w.opt.Results.ReportResult(p.delivery, p.matches)
			}
		}
		if len(p.deadLetters) == 0 {
			complete = append(complete, p.delivery)
			continue
		}
		for _, l := range p.deadLetters {
			w.metrics.failed.Add(int64(l.Events))
			w.log.Error("event dead-lettered", "batch", p.delivery.ID, "event", l.EventID, "agent", l.AgentID, "events", l.Events, "cause", l.Cause)
		}
		w.retryUntilDone(ctx, "dead-lettering failed; retrying", func() error { return w.q.Bury(ctx, p.delivery, p.deadLetters...) })
	}
	if len(complete) > 0 {
		w.retryUntilDone(ctx, "ack failed; retrying", func() error { return w.q.Ack(ctx, complete...) })
	}
}

// retryUntilDone calls f until it succeeds or ctx ends. It logs the first error.
func (w *Worker) retryUntilDone(ctx context.Context, message string, f func() error) {
	for failures := 1; ; failures++ {
		err := f()
		if err == nil || ctx.Err() != nil {
			return
		}
		if failures == 1 {
			w.log.Error(message, "error", err)
		}
		w.backoff.Wait(ctx, failures)
	}
}

// returnToQueue returns the deliveries that could not be saved and, after the
// same delay, those received with them that were not tried: without a delay,
// they would overtake older batches of the same agents. It tries until ctx ends, because
// what is not returned stays leased.
func (w *Worker) returnToQueue(ctx context.Context, failed, untried []queue.Delivery, delay time.Duration, cause error) {
	w.metrics.retries.Add(int64(len(failed)))
	rs := make([]queue.Retry, 0, len(failed)+len(untried))
	for _, d := range failed {
		rs = append(rs, queue.Retry{Delivery: d, Cause: cause})
	}
	for _, d := range untried {
		rs = append(rs, queue.Retry{Delivery: d})
	}
	// Once also while stopping: otherwise the messages would wait for their leases to end.
	w.retryUntilDone(ctx, "returning messages to queue failed; retrying", func() error {
		return w.q.Retry(context.WithoutCancel(ctx), delay, rs...)
	})
}
