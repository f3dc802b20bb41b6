package backoff_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picket-edr/picket/internal/backoff"
)

func TestDelay(t *testing.T) {
	p := backoff.Policy{First: 100 * time.Millisecond, Max: time.Second}
	for failures, want := range map[int]time.Duration{
		0: p.First, 1: p.First, 2: 2 * p.First, 4: 8 * p.First, 5: p.Max, 1_000_000: p.Max,
	} {
		for range 100 {
			if d := p.Delay(failures); d < want/2 || d > want {
				t.Fatalf("after %d failures: %v, want %v to %v", failures, d, want/2, want)
			}
		}
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := backoff.Policy{First: time.Hour, Max: time.Hour}
		start := time.Now()
		p.Wait(t.Context(), 1)
		if waited := time.Since(start); waited < time.Hour/2 || waited > time.Hour {
			t.Errorf("waited %v", waited)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start = time.Now()
		p.Wait(ctx, 1)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v after the context ended", waited)
		}
	})
}
