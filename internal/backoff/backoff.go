// Package backoff computes and waits for the delays between retries.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Policy is an exponential backoff: the delay doubles with each failure in
// a row, from First up to Max. Jitter takes off up to half of it, so that
// clients that failed together do not retry together.
type Policy struct{ First, Max time.Duration }

// Delay returns how long to wait after so many failures in a row; the first
// is number 1.
func (p Policy) Delay(failures int) time.Duration {
	d := p.First
	for range failures - 1 {
		if d >= p.Max {
			break
		}
		d *= 2
	}
	d = min(d, p.Max)
	return d - rand.N(d/2+1)
}

// Wait waits for Delay or until ctx ends.
func (p Policy) Wait(ctx context.Context, failures int) { Sleep(ctx, p.Delay(failures)) }

// Sleep waits for d or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
