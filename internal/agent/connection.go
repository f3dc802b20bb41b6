package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/picket-edr/picket/internal/backoff"
)

// A WrongAgentError: the token is for another agent than the events.
type WrongAgentError struct{ AgentID, TokenAgentID string }

func (e *WrongAgentError) Error() string {
	return fmt.Sprintf("the token posts as agent %q, and this is agent %q", e.TokenAgentID, e.AgentID)
}

// checkTokenAgent waits until the server has answered for whom the token posts, or ctx
// ends. A token of another agent is a *WrongAgentError: the server would reject each
// event.
func (a *Agent) checkTokenAgent(ctx context.Context) error {
	for failures := 1; ctx.Err() == nil; failures++ {
		t, err := a.opt.Client.Token(ctx)
		wrong := err == nil && t.Kind == "agent" && a.opt.AgentID != "" && t.Name != a.opt.AgentID
		if failures == 1 && !wrong {
			close(a.tokenCheckTried)
		}
		if answer, ok := errors.AsType[*AnswerError](err); ok && answer.Status == http.StatusNotFound {
			return nil // an older server; the answers to batches show whether it is one
		}
		if wrong {
			return &WrongAgentError{AgentID: a.opt.AgentID, TokenAgentID: t.Name}
		}
		if err == nil {
			a.conn.succeeded()
			return nil
		}
		a.waitAfterFailure(ctx, err, failures)
	}
	return nil
}

// awaitTokenCheck waits until it is known that the events do not name the wrong agent,
// or the server has not answered soon.
func (a *Agent) awaitTokenCheck(ctx context.Context) {
	timeout := time.NewTimer(tokenCheckTimeout)
	defer timeout.Stop()
	select {
	case <-a.tokenCheckTried:
	case <-ctx.Done():
	case <-timeout.C:
	}
}

// tokenCheckTimeout bounds how long events wait in memory for the check of the token.
const tokenCheckTimeout = 5 * time.Second

// waitAfterFailure logs a failed request, and waits until the next attempt is due.
func (a *Agent) waitAfterFailure(ctx context.Context, err error, failures int) {
	if ctx.Err() != nil {
		return
	}
	a.conn.failed(err)
	wait := a.retryPolicy().Delay(failures)
	if answer, ok := errors.AsType[*AnswerError](err); ok && answer.retryDelay() > 0 {
		wait = withJitter(answer.retryDelay())
	}
	backoff.Sleep(ctx, wait)
}

// A connectionLog logs when the connection to the server is made and lost, and each new
// cause of failures, but not each attempt. A cause that lasts is logged once an hour. One
// goroutine uses it.
type connectionLog struct {
	log            *slog.Logger
	connected      bool
	lastFailureKey string // of the last failure; "" after a success
	firstFailure   time.Time
	lastLogged     time.Time // of a failure
}

// failureLogInterval is how often a failure that lasts is logged.
const failureLogInterval = time.Hour

// succeeded records that picket accepted a request.
func (c *connectionLog) succeeded() {
	switch {
	case !c.connected:
		c.log.Info("connected to the server")
	case c.lastFailureKey != "":
		c.log.Info("server accepts events again")
	}
	c.connected, c.lastFailureKey = true, ""
}

// failed records a failed request. As long as picket itself answers, the connection is
// not lost.
func (c *connectionLog) failed(err error) {
	answer, _ := errors.AsType[*AnswerError](err)
	lost := c.connected && (answer == nil || !answer.FromPicket)
	if c.lastFailureKey == "" {
		c.firstFailure = time.Now()
	}
	switch key := failureKey(err); {
	case lost:
		c.connected, c.lastFailureKey, c.lastLogged = false, key, time.Now()
		c.log.Warn("connection to the server lost; keeping and retrying events", "hint", uploadHint(err), "error", err)
	case key != c.lastFailureKey:
		c.lastFailureKey, c.lastLogged = key, time.Now()
		c.log.Warn("server does not accept events; keeping and retrying them", "hint", uploadHint(err), "error", err)
	case time.Since(c.lastLogged) >= failureLogInterval:
		c.lastLogged = time.Now()
		c.log.Warn("server still does not accept events; keeping and retrying them", "for", time.Since(c.firstFailure).Round(time.Minute),
			"hint", uploadHint(err), "error", err)
	}
}
