package httpapi

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Slots limit how many of something happen at the same time, in all and for each
// caller. A caller that waits for one of its own slots takes none from others.
type Slots struct {
	all       *semaphore.Weighted
	perCaller int64

	mu      sync.Mutex
	callers map[string]*callerSlots // of callers that hold or wait for a slot
}

type callerSlots struct {
	slots *semaphore.Weighted
	refs  int // requests that hold or wait for a slot
}

// NewSlots returns a number of slots, of which one caller can have perCaller.
func NewSlots(all, perCaller int64) *Slots {
	return &Slots{all: semaphore.NewWeighted(all), perCaller: perCaller, callers: make(map[string]*callerSlots)}
}

// Acquire waits until caller has a slot or ctx ends.
func (s *Slots) Acquire(ctx context.Context, caller string) error {
	s.mu.Lock()
	c := s.callers[caller]
	if c == nil {
		c = &callerSlots{slots: semaphore.NewWeighted(s.perCaller)}
		s.callers[caller] = c
	}
	c.refs++
	s.mu.Unlock()
	err := c.slots.Acquire(ctx, 1)
	if err == nil {
		if err = s.all.Acquire(ctx, 1); err != nil {
			c.slots.Release(1)
		}
	}
	if err != nil {
		s.unref(caller)
	}
	return err
}

// Release returns a slot of caller.
func (s *Slots) Release(caller string) {
	s.all.Release(1)
	s.unref(caller).Release(1)
}

// unref takes back a request's reference to the slots of caller, and returns these.
func (s *Slots) unref(caller string) *semaphore.Weighted {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.callers[caller]
	if c.refs--; c.refs == 0 {
		delete(s.callers, caller)
	}
	return c.slots
}
