package ingest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/picket-edr/picket/internal/httpapi"
)

// A slotTier limits how many bodies may be larger than a size at the same time,
// in all and of one sender. A growing body acquires the tiers in order, which
// rules out deadlocks.
type slotTier struct {
	overBytes int64
	slots     *httpapi.Slots
}

func newSlotTier(overBytes, all, perSender int64) *slotTier {
	return &slotTier{overBytes, httpapi.NewSlots(all, perSender)}
}

// slotWait bounds how long a body waits for a slot.
const slotWait = 10 * time.Second

// acquire waits for a slot for a body of sender.
func (t *slotTier) acquire(ctx context.Context, sender string) error {
	ctx, cancel := context.WithTimeout(ctx, slotWait)
	defer cancel()
	if err := t.slots.Acquire(ctx, sender); err != nil {
		return &httpapi.Error{Status: http.StatusServiceUnavailable, RetryAfter: 1, Err: &busyError{fmt.Errorf("wait for memory: %w", err)}}
	}
	return nil
}

// release returns a slot of sender.
func (t *slotTier) release(sender string) { t.slots.Release(sender) }
