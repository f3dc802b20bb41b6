package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A ReadLimiter bounds what people and programs that read cost together: how many
// requests are worked on at the same time, in all and of each caller, and for how
// long. The answer counts as part of the request, because it is in memory until the
// client has read it.
type ReadLimiter struct {
	timeout, slotWait time.Duration
	searches, lists   *Slots
}

// What runs at the same time.
const (
	maxConcurrentSearches          = 4 // searches through events
	maxConcurrentSearchesPerCaller = 1
	maxConcurrentLists             = 8 // other lists and pages
	maxConcurrentListsPerCaller    = 4

	readSlotWait  = 10 * time.Second // how long a request waits for its turn
	answerTimeout = 30 * time.Second // how long a client may take to read an answer
)

// NewReadLimiter returns a ReadLimiter that ends requests after timeout.
func NewReadLimiter(timeout time.Duration) *ReadLimiter {
	return &ReadLimiter{timeout: timeout, slotWait: readSlotWait,
		searches: NewSlots(maxConcurrentSearches, maxConcurrentSearchesPerCaller), lists: NewSlots(maxConcurrentLists, maxConcurrentListsPerCaller)}
}

// A ReadLimit serves a request of caller with h, within a limit: ReadLimiter.ServeSearch or
// ReadLimiter.ServeList.
type ReadLimit func(w http.ResponseWriter, r *http.Request, caller string, h Handler) error

// ServeSearch serves a request of caller with h, which searches through events.
func (l *ReadLimiter) ServeSearch(w http.ResponseWriter, r *http.Request, caller string, h Handler) error {
	return l.serve(w, r, caller, l.searches, "searches", h)
}

// ServeList serves a request of caller with h, which reads anything else.
func (l *ReadLimiter) ServeList(w http.ResponseWriter, r *http.Request, caller string, h Handler) error {
	return l.serve(w, r, caller, l.lists, "requests", h)
}

func (l *ReadLimiter) serve(w http.ResponseWriter, r *http.Request, caller string, slots *Slots, what string, h Handler) error {
	if err := l.acquire(r.Context(), caller, slots, what); err != nil {
		return err
	}
	defer slots.Release(caller)
	ctx, cancel := context.WithTimeout(r.Context(), l.timeout)
	defer cancel()
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(l.timeout + answerTimeout)) // unsupported only in tests
	err := h(w, r.WithContext(ctx))
	switch {
	case err == nil:
		return nil
	case r.Context().Err() != nil:
		return fmt.Errorf("the client disconnected: %w", r.Context().Err())
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Errorf(http.StatusServiceUnavailable, "this took longer than %v and was ended: narrow the time range with since and until, or search in a field instead of everywhere", l.timeout)
	}
	return err
}

// acquire waits for a slot.
func (l *ReadLimiter) acquire(ctx context.Context, caller string, slots *Slots, what string) error {
	waiting, cancel := context.WithTimeout(ctx, l.slotWait)
	defer cancel()
	err := slots.Acquire(waiting, caller)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the client disconnected: %w", ctx.Err())
	}
	return &Error{Status: http.StatusTooManyRequests, RetryAfter: int(l.slotWait / time.Second), Err: fmt.Errorf("too many %s at the same time: try again when yours and those of others have ended", what)}
}
