package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/zst"
)

// uploadSpool posts the batches of the spool in order until ctx ends. It signals on
// batchDone after each. An error is one that a retry cannot help.
func (a *Agent) uploadSpool(ctx context.Context, batchDone chan<- struct{}) error {
	if err := a.checkTokenAgent(ctx); err != nil {
		return err
	}
	for failures := 0; ctx.Err() == nil; {
		ds, err := a.opt.Spool.Receive(ctx, 8)
		if err != nil {
			switch {
			case ctx.Err() != nil:
			case errors.Is(err, queue.ErrDamaged):
				return err
			default:
				failures++
				a.log.Error("reading the spool failed; retrying", "error", err)
				a.retryPolicy().Wait(ctx, failures)
			}
			continue
		}
		failures = 0
		for _, d := range ds {
			a.uploadBatch(ctx, d)
			select {
			case batchDone <- struct{}{}:
			default:
			}
		}
	}
	return nil
}

// uploadBatch posts one batch until the server accepts or refuses it, or ctx ends. It
// blocks, because the next batch must not overtake this one.
func (a *Agent) uploadBatch(ctx context.Context, d queue.Delivery) {
	for failures := 1; ctx.Err() == nil; failures++ {
		refused, err := a.postOrSplit(ctx, d.Message)
		if err == nil {
			a.conn.succeeded()
			a.ackOrBury(ctx, d, refused)
			return
		}
		a.counters.retries.Add(1)
		a.waitAfterFailure(ctx, err, failures)
	}
}

// ackOrBury acks d or, if the server refused all or some of it, leaves dead letters in
// its place.
func (a *Agent) ackOrBury(ctx context.Context, d queue.Delivery, refused []queue.DeadLetter) {
	for _, l := range refused {
		a.counters.rejected.Add(int64(l.Events))
		a.log.Error("server refused events; they are kept as a dead letter in the spool",
			"events", l.Events, "hint", "picket agent spool list shows it", "error", l.Cause)
	}
	end := context.WithoutCancel(ctx)
	var err error
	if len(refused) == 0 {
		err = a.opt.Spool.Ack(end, d)
	} else {
		err = a.opt.Spool.Bury(end, d, refused...)
	}
	if err != nil {
		a.log.Error("removing an uploaded batch from the spool failed; it will be uploaded again", "error", err)
	}
}

// postOrSplit posts a batch. One that is too large for the server is posted in halves. If the second half fails, both are posted again, and the
// server recognises the first by its events' ids. It returns what picket itself refused.
func (a *Agent) postOrSplit(ctx context.Context, b queue.Message) (refused []queue.DeadLetter, err error) {
	dropped := a.dropped.Load()
	rejected, err := a.opt.Client.Post(ctx, b, dropped)
	answer, _ := errors.AsType[*AnswerError](err)
	switch {
	case err == nil:
		a.counters.posted.Add(int64(b.Events - len(rejected)))
	case answer == nil:
		return nil, err
	case len(answer.Rejected) > 0:
		rejected = answer.Rejected // the server has them as dead letters
	case !answer.refuses():
		return nil, err
	case answer.Status == http.StatusRequestEntityTooLarge && b.Events > 1:
		return a.postHalves(ctx, b)
	default:
		return []queue.DeadLetter{deadLetter(b, answer.Error())}, nil
	}
	a.countAndLogRejected(rejected)
	a.dropped.Add(-dropped)
	return nil, nil
}

// deadLetter returns the dead letter of a batch that the server refuses.
func deadLetter(b queue.Message, cause string) queue.DeadLetter {
	return queue.DeadLetter{Reason: queue.Failed, Cause: cause, Events: b.Events, Time: time.Now(), Payload: b.Payload}
}

// countAndLogRejected counts rejected events and logs the first of them.
func (a *Agent) countAndLogRejected(rs []RejectedEvent) {
	a.counters.rejected.Add(int64(len(rs)))
	const shown = 10
	for i, r := range rs {
		if i == shown {
			a.log.Warn("server rejected more events", "events", len(rs)-shown)
			return
		}
		a.log.Warn("server rejected an event", "event", r.EventID, "index", r.Index, "reason", r.Reason)
	}
}

// postHalves posts the two halves of a batch.
func (a *Agent) postHalves(ctx context.Context, b queue.Message) (refused []queue.DeadLetter, err error) {
	var events []json.RawMessage
	plain, err := zst.Decompress(nil, b.Payload)
	if err == nil {
		err = json.Unmarshal(plain, &events)
	}
	if err == nil && len(events) != b.Events {
		err = fmt.Errorf("%d events instead of %d", len(events), b.Events)
	}
	if err != nil {
		return []queue.DeadLetter{deadLetter(b, fmt.Sprintf("too large for the server, and damaged: %v", err))}, nil
	}
	for _, part := range [][]json.RawMessage{events[:len(events)/2], events[len(events)/2:]} {
		var half batch
		for _, e := range part {
			half.add(e)
		}
		dead, err := a.postOrSplit(ctx, half.message())
		if err != nil {
			return nil, err
		}
		refused = append(refused, dead...)
	}
	return refused, nil
}

func (a *Agent) retryPolicy() backoff.Policy {
	return backoff.Policy{First: a.opt.RetryDelay, Max: a.opt.MaxRetryDelay}
}

// withJitter returns d and up to a quarter more, so that agents that were told to wait do
// not retry together.
func withJitter(d time.Duration) time.Duration { return d + rand.N(d/4+1) }
