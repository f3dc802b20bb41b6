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
// batchDone after each.
func (a *Agent) uploadSpool(ctx context.Context, batchDone chan<- struct{}) {
	for failures := 0; ctx.Err() == nil; {
		ds, err := a.opt.Spool.Receive(ctx, 8)
		if err != nil {
			if ctx.Err() == nil {
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
}

// uploadBatch posts one batch until the server accepts or rejects it, or ctx
// ends. It blocks, because the next batch must not overtake this one.
func (a *Agent) uploadBatch(ctx context.Context, d queue.Delivery) {
	failures, unavailable := 0, false
	for ctx.Err() == nil {
		err := a.postOrSplit(ctx, d.Payload, d.Events)
		if err == nil {
			if unavailable {
				a.log.Info("server accepts events again")
			}
			a.ackOrBury(ctx, d, nil)
			return
		}
		if ctx.Err() != nil {
			return
		}
		failures++
		a.counters.retries.Add(1)
		wait := a.retryPolicy().Delay(failures)
		status, _ := errors.AsType[*StatusError](err)
		switch {
		case status == nil: // no answer
		case status.Status == http.StatusBadRequest:
			a.log.Error("server rejected a whole batch; it is kept as a dead letter", "events", d.Events, "error", err)
			a.counters.rejected.Add(int64(d.Events))
			a.ackOrBury(ctx, d, err)
			return
		case status.RetryAfter > 0:
			wait = status.RetryAfter + rand.N(status.RetryAfter/4+1)
		case status.Status >= 500 || status.Status == http.StatusTooManyRequests:
		default: // the token or the address is wrong: only a person can fix it
			wait = a.opt.MaxRetryDelay - rand.N(a.opt.MaxRetryDelay/2+1)
		}
		if !unavailable {
			unavailable = true
			a.log.Warn("server does not accept events; keeping and retrying them", "hint", uploadHint(status), "error", err)
		}
		backoff.Sleep(ctx, wait)
	}
}

// uploadHint returns what the user can do about a failed upload.
func uploadHint(e *StatusError) string {
	switch {
	case e == nil:
		return "is the server running, and does the network reach it?"
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return "the token is not valid there: make one with picket token create"
	case e.Status == http.StatusTooManyRequests || e.Status >= 500:
		return "the server is busy or failing; nothing is lost"
	default:
		return "is this the address of a picket server?"
	}
}

// ackOrBury acks d or, if there is a cause, dead-letters it.
func (a *Agent) ackOrBury(ctx context.Context, d queue.Delivery, cause error) {
	end := context.WithoutCancel(ctx)
	var err error
	if cause == nil {
		err = a.opt.Spool.Ack(end, d)
	} else {
		err = a.opt.Spool.Bury(end, d, queue.DeadLetter{Reason: queue.Failed, Cause: cause.Error(), Events: d.Events, Time: time.Now(), Payload: d.Payload})
	}
	if err != nil {
		a.log.Error("removing an uploaded batch from the spool failed; it will be uploaded again", "error", err)
	}
}

// postOrSplit posts a body of eventCount events. A body that is too large is posted in halves. If
// the second half fails, both are posted again, and the server recognises the
// first by its ids.
func (a *Agent) postOrSplit(ctx context.Context, body []byte, eventCount int) error {
	dropped := a.dropped.Load()
	res, err := a.opt.Client.Post(ctx, body, dropped)
	status, _ := errors.AsType[*StatusError](err)
	switch {
	case err == nil:
		a.logRejected(res.Rejected)
		a.counters.posted.Add(int64(eventCount - len(res.Rejected)))
	case status != nil && status.Status == http.StatusBadRequest && len(status.Rejected) > 0:
		// The server rejected each event; retrying would not help.
		a.logRejected(status.Rejected)
	case status != nil && status.Status == http.StatusRequestEntityTooLarge:
		return a.sendHalves(ctx, body)
	default:
		return err
	}
	a.dropped.Add(-dropped)
	return nil
}

// logRejected counts rejected events and logs the first of them.
func (a *Agent) logRejected(rs []RejectedEvent) {
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

// sendHalves posts the two halves of a body.
func (a *Agent) sendHalves(ctx context.Context, body []byte) error {
	plain, err := zst.Decompress(nil, body)
	if err != nil {
		return &StatusError{Status: http.StatusBadRequest, Message: fmt.Sprintf("too large, and damaged: %v", err)}
	}
	var events []json.RawMessage
	if err := json.Unmarshal(plain, &events); err != nil {
		return &StatusError{Status: http.StatusBadRequest, Message: fmt.Sprintf("too large, and not an array: %v", err)}
	}
	if len(events) <= 1 {
		a.logRejected([]RejectedEvent{{Reason: fmt.Sprintf("larger than the server accepts: %d bytes", len(plain))}})
		return nil
	}
	for _, half := range [][]json.RawMessage{events[:len(events)/2], events[len(events)/2:]} {
		var b batch
		for _, e := range half {
			b.add(e)
		}
		if err := a.postOrSplit(ctx, b.message().Payload, len(half)); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) retryPolicy() backoff.Policy {
	return backoff.Policy{First: a.opt.RetryDelay, Max: a.opt.MaxRetryDelay}
}
