package forward

import (
	"context"
	"sync"
)

// A gate lets fewer batches into the spool than leave it, once the queue is
// back: senders that are quicker than forwarding would otherwise keep it from
// ever getting empty. While the queue is away it is open.
type gate struct {
	mu       sync.Mutex
	catching bool          // what is spooled is being forwarded
	credit   int           // how many may pass until more are forwarded
	changed  chan struct{} // closed at the next change; nil while nobody waits
}

// set says how forwarding goes.
func (g *gate) set(catching bool, credit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.catching, g.credit = catching, credit
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// pass reports whether a batch may go to the next queue at once, since nothing
// is spooled. Otherwise it returns when the batch may go into the spool.
func (q *Queue) pass(ctx context.Context) (through bool, err error) {
	g := &q.gate
	for {
		g.mu.Lock()
		if q.spooled.Load() == 0 {
			g.mu.Unlock()
			return true, nil
		}
		if !g.catching || g.credit > 0 {
			g.credit--
			g.mu.Unlock()
			return false, nil
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
