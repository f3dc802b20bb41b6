package store

import "context"

// A ContextChecker ends a search inside an event or a block: it checks a context after
// every few kilobytes that were compared. A nil ContextChecker never ends. It is for one
// goroutine.
type ContextChecker struct {
	ctx  context.Context
	left int
	err  error
}

// bytesPerContextCheck is how much is compared between two checks of the context. A regular
// expression of the largest size takes some tens of milliseconds for it.
const bytesPerContextCheck = 4 << 10

// NewContextChecker returns a checker of ctx.
func NewContextChecker(ctx context.Context) *ContextChecker {
	return &ContextChecker{ctx: ctx, left: bytesPerContextCheck}
}

// CountBytes counts n bytes of work. Once the context has ended, it returns its error.
func (c *ContextChecker) CountBytes(n int) error {
	if c == nil {
		return nil
	}
	if c.left -= n; c.left > 0 {
		return nil
	}
	return c.checkNow() // not here, so that CountBytes is inlined
}

func (c *ContextChecker) checkNow() error {
	if c.err == nil {
		c.err = c.ctx.Err()
	}
	if c.err == nil {
		c.left = bytesPerContextCheck
	}
	return c.err
}

// Err returns the context's error, once CountBytes has found it.
func (c *ContextChecker) Err() error {
	if c == nil {
		return nil
	}
	return c.err
}
