package ingest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/picket-edr/picket/internal/httpapi"
)

// A bufferTier limits how many bodies may be larger than a size at the same time,
// in all and of one sender. A growing body acquires the tiers in order, which
// rules out deadlocks.
type bufferTier struct {
	size      int64
	all       *semaphore.Weighted
	perSender int64

	mu      sync.Mutex
	senders map[string]*senderSlots // of senders that hold or wait for a slot
}

type senderSlots struct {
	slots  *semaphore.Weighted
	bodies int // that hold or wait for a slot
}

func newBufferTier(size, all, perSender int64) *bufferTier {
	return &bufferTier{size: size, all: semaphore.NewWeighted(all), perSender: perSender, senders: make(map[string]*senderSlots)}
}

// slotWait bounds how long a body waits for a slot.
const slotWait = 10 * time.Second

// acquire waits for a slot for a body of sender.
func (t *bufferTier) acquire(ctx context.Context, sender string) error {
	ctx, cancel := context.WithTimeout(ctx, slotWait)
	defer cancel()
	t.mu.Lock()
	s := t.senders[sender]
	if s == nil {
		s = &senderSlots{slots: semaphore.NewWeighted(t.perSender)}
		t.senders[sender] = s
	}
	s.bodies++
	t.mu.Unlock()
	err := s.slots.Acquire(ctx, 1)
	if err == nil {
		if err = t.all.Acquire(ctx, 1); err != nil {
			s.slots.Release(1)
		}
	}
	if err != nil {
		t.leave(sender)
		return &httpapi.Error{Status: http.StatusServiceUnavailable, RetryAfter: 1, Err: fmt.Errorf("wait for memory: %w", err)}
	}
	return nil
}

// release returns a slot of sender.
func (t *bufferTier) release(sender string) {
	t.all.Release(1)
	t.leave(sender).Release(1)
}

// leave ends the stay of a body in the tier.
func (t *bufferTier) leave(sender string) *semaphore.Weighted {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.senders[sender]
	if s.bodies--; s.bodies == 0 {
		delete(t.senders, sender)
	}
	return s.slots
}
