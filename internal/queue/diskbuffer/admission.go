package diskbuffer

import (
	"context"
	"sync"
)

// drainThrottle limits how fast batches enter the buffer while it is being
// drained: otherwise, senders that are faster than forwarding would keep it
// from ever getting empty. While the next queue is unreachable, all enter.
type drainThrottle struct {
	mu       sync.Mutex
	draining bool          // buffered batches are being forwarded
	credit   int           // how many batches may enter until more are forwarded
	changed  chan struct{} // closed at the next change; nil while no one waits
}

// set updates the state and wakes those who wait for admission.
func (a *drainThrottle) set(draining bool, credit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draining, a.credit = draining, credit
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// waitForAdmission reports whether a batch may go directly to the next queue because the
// buffer is empty. Otherwise it returns once the batch may enter the buffer.
func (q *Queue) waitForAdmission(ctx context.Context) (direct bool, err error) {
	a := &q.admission
	for {
		a.mu.Lock()
		if q.buffered.Load() == 0 {
			a.mu.Unlock()
			return true, nil
		}
		if !a.draining || a.credit > 0 {
			a.credit--
			a.mu.Unlock()
			return false, nil
		}
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
