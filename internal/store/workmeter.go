package store

import "context"

// A WorkMeter ends a search inside an event or a block: it checks a context after
// every few kilobytes that were compared. A nil WorkMeter never ends. It is for one
// goroutine.
type WorkMeter struct {
	ctx  context.Context
	left int
	err  error
}

// workCheckBytes is how much is compared between two checks of the context. A regular
// expression of the largest size takes some tens of milliseconds for it.
const workCheckBytes = 4 << 10

// NewWorkMeter returns a meter that checks ctx.
func NewWorkMeter(ctx context.Context) *WorkMeter { return &WorkMeter{ctx: ctx, left: workCheckBytes} }

// Spend counts n bytes of work. Once the context has ended, it returns its error.
func (m *WorkMeter) Spend(n int) error {
	if m == nil {
		return nil
	}
	if m.left -= n; m.left > 0 {
		return nil
	}
	return m.check() // not here, so that Spend is inlined
}

func (m *WorkMeter) check() error {
	if m.err == nil {
		m.err = m.ctx.Err()
	}
	if m.err == nil {
		m.left = workCheckBytes
	}
	return m.err
}

// Err returns the context's error, once Spend has found it.
func (m *WorkMeter) Err() error {
	if m == nil {
		return nil
	}
	return m.err
}
