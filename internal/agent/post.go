package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/zst"
)

// post sends what the spool holds, oldest first, one batch after the other,
// until ctx ends.
func (a *Agent) post(ctx context.Context, sent chan<- struct{}) {
	for failures := 0; ctx.Err() == nil; {
		ds, err := a.opt.Spool.Receive(ctx, 8)
		if err != nil {
			if ctx.Err() == nil {
				failures++
				a.log.Error("cannot read the spool; trying again", "error", err)
				sleep(ctx, a.backoff(failures))
			}
			continue
		}
		failures = 0
		for _, d := range ds {
			a.deliver(ctx, d)
			select {
			case sent <- struct{}{}:
			default:
			}
		}
	}
}

// deliver posts one batch until the server is done with it or ctx ends. The
// next must not overtake it, so it is held here and not given back.
func (a *Agent) deliver(ctx context.Context, d queue.Delivery) {
	failures, away := 0, false
	for ctx.Err() == nil {
		err := a.send(ctx, d.Payload, d.Events)
		if err == nil {
			if away {
				a.log.Info("server takes events again")
			}
			a.finish(ctx, d, nil)
			return
		}
		if ctx.Err() != nil {
			return
		}
		failures++
		a.metrics.retries.Add(1)
		wait := a.backoff(failures)
		status, _ := errors.AsType[*StatusError](err)
		switch {
		case status == nil: // no answer
		case status.Status == http.StatusBadRequest:
			a.log.Error("server refuses a batch as a whole; it is kept as a dead letter", "events", d.Events, "error", err)
			a.metrics.refused.Add(int64(d.Events))
			a.finish(ctx, d, err)
			return
		case status.RetryAfter > 0:
			wait = status.RetryAfter + rand.N(status.RetryAfter/4+1)
		case status.Status >= 500 || status.Status == http.StatusTooManyRequests:
		default: // the token, the address or the server is wrong: someone must act
			wait = a.opt.MaxRetryDelay/2 + rand.N(a.opt.MaxRetryDelay/2+1)
		}
		if !away {
			away = true
			a.log.Warn("server does not take events; they are kept and tried again", "hint", hint(status), "error", err)
		}
		sleep(ctx, wait)
	}
}

func hint(e *StatusError) string {
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

// finish takes d out of the spool; with a cause, it leaves a letter.
func (a *Agent) finish(ctx context.Context, d queue.Delivery, cause error) {
	end := context.WithoutCancel(ctx)
	var err error
	if cause == nil {
		err = a.opt.Spool.Ack(end, d)
	} else {
		err = a.opt.Spool.Bury(end, d, queue.DeadLetter{Reason: queue.Failed, Cause: cause.Error(), Events: d.Events, Time: time.Now(), Payload: d.Payload})
	}
	if err != nil {
		a.log.Error("cannot take a posted batch out of the spool; it will be posted again", "error", err)
	}
}

// send posts a body of n events. One that is too large goes in halves; what
// was taken of it before a failure is posted again, and the server knows it
// by its ids.
func (a *Agent) send(ctx context.Context, body []byte, n int) error {
	dropped := a.dropped.Load()
	res, err := a.opt.Client.Post(ctx, body, dropped)
	status, _ := errors.AsType[*StatusError](err)
	switch {
	case err == nil:
		a.refused(res.Refused)
		a.metrics.posted.Add(int64(n - len(res.Refused)))
	case status != nil && status.Status == http.StatusBadRequest && len(status.Refused) > 0:
		// The server has noted what is wrong with each; again would be no better.
		a.refused(status.Refused)
	case status != nil && status.Status == http.StatusRequestEntityTooLarge:
		return a.sendHalves(ctx, body)
	default:
		return err
	}
	a.dropped.Add(-dropped)
	return nil
}

func (a *Agent) refused(rs []Refusal) {
	a.metrics.refused.Add(int64(len(rs)))
	const shown = 10
	for i, r := range rs {
		if i == shown {
			a.log.Warn("server refuses more events", "events", len(rs)-shown)
			return
		}
		a.log.Warn("server refuses an event", "event", r.EventID, "index", r.Index, "reason", r.Reason)
	}
}

func (a *Agent) sendHalves(ctx context.Context, body []byte) error {
	plain, err := zst.Decode(nil, body)
	if err != nil {
		return &StatusError{Status: http.StatusBadRequest, Message: fmt.Sprintf("too large, and damaged: %v", err)}
	}
	var events []json.RawMessage
	if err := json.Unmarshal(plain, &events); err != nil {
		return &StatusError{Status: http.StatusBadRequest, Message: fmt.Sprintf("too large, and not an array: %v", err)}
	}
	if len(events) <= 1 {
		a.refused([]Refusal{{Reason: fmt.Sprintf("larger than the server takes: %d bytes", len(plain))}})
		return nil
	}
	for _, half := range [][]json.RawMessage{events[:len(events)/2], events[len(events)/2:]} {
		var b batch
		for _, e := range half {
			b.add(e)
		}
		if err := a.send(ctx, b.message().Payload, len(half)); err != nil {
			return err
		}
	}
	return nil
}

// backoff is the time to wait after the nth failure: anything up to a bound
// that doubles, so that a thousand agents do not come back at once.
func (a *Agent) backoff(n int) time.Duration {
	most := min(a.opt.RetryDelay<<min(n-1, 16), a.opt.MaxRetryDelay)
	return rand.N(most) + time.Millisecond
}
