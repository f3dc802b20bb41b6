package ingest

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
)

// The causes for which the intake refuses a request.
var refusalCauses = [...]string{
	"disk_full",              // the disk of the queue, or of its buffer, is nearly full
	"queue_full",             // the queue, or its buffer, is full
	"queue_unavailable",      // the queue is unreachable, and there is no buffer
	"store_unavailable",      // the token could not be looked up
	"busy",                   // too many requests at the same time
	"too_large",              // the request, or each of its events, exceeds a limit
	"too_slow",               // the body took too long to arrive
	"invalid",                // the body is malformed, or each of its events was rejected
	"unsupported_media_type", // neither JSON nor a known compression
	"unauthenticated",        // no token, or an unknown or revoked one
	"forbidden",              // the token may not post
	"internal",               // an error in picket
}

// A refusalCounter counts refused requests by cause.
type refusalCounter [len(refusalCauses)]atomic.Int64

// count counts a request that was refused with err. It leaves out requests that are not
// for the intake, and those whose client disconnected.
func (c *refusalCounter) count(err error) {
	cause := refusalCause(err)
	for i, name := range refusalCauses {
		if name == cause {
			c[i].Add(1)
		}
	}
}

// RefusedRequests returns how many requests were refused since the process started, by
// cause.
func (h *Handler) RefusedRequests() map[string]int64 {
	refused := make(map[string]int64, len(refusalCauses))
	for i, name := range refusalCauses {
		refused[name] = h.refused[i].Load()
	}
	return refused
}

// countRefusals counts the requests that next refuses.
func (h *Handler) countRefusals(next httpapi.Handler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := next(w, r)
		if err != nil {
			h.refused.count(err)
		}
		return err
	}
}

// A busyError: too many requests are worked on at the same time.
type busyError struct{ error }

func (e *busyError) Unwrap() error { return e.error }

// An enqueueError is an error of the queue.
type enqueueError struct{ error }

func (e *enqueueError) Unwrap() error { return e.error }

func refusalCause(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, queue.ErrDiskFull):
		return "disk_full"
	case errors.Is(err, queue.ErrFull):
		return "queue_full"
	}
	if _, ok := errors.AsType[*busyError](err); ok {
		return "busy"
	}
	switch httpapi.StatusOf(err) {
	case http.StatusBadRequest:
		return "invalid"
	case http.StatusUnauthorized:
		return "unauthenticated"
	case http.StatusForbidden:
		return "forbidden"
	case http.StatusRequestTimeout:
		return "too_slow"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusServiceUnavailable:
		if _, ok := errors.AsType[*enqueueError](err); ok {
			return "queue_unavailable"
		}
		return "store_unavailable"
	case http.StatusInternalServerError:
		return "internal"
	}
	return ""
}
