// Package cachetest is the conformance suite of cache.Cache. The test of each
// implementation calls Run.
package cachetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/cache"
)

// Run runs the suite. open returns an empty cache.
func Run(t *testing.T, open func(t *testing.T) cache.Cache) {
	for name, test := range map[string]func(*testing.T, cache.Cache){
		"Hit": testHit, "Expiry": testExpiry, "Invalidate": testInvalidate, "Errors": testErrors, "ConcurrentGet": testConcurrentGet, "CanceledCaller": testCanceledCaller,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// countingFill returns a fill function that returns another value each time.
func countingFill() func(context.Context) ([]byte, error) {
	var n atomic.Int64
	return func(context.Context) ([]byte, error) { return fmt.Append(nil, n.Add(1)), nil }
}

func wantGet(t *testing.T, c cache.Cache, key string, ttl time.Duration, fill func(context.Context) ([]byte, error), want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key, ttl, fill); err != nil || string(got) != want {
		t.Errorf("%s is %q, %v; want %q", key, got, err, want)
	}
}

func testHit(t *testing.T, c cache.Cache) {
	a, b := countingFill(), countingFill()
	for range 3 {
		wantGet(t, c, "a", time.Hour, a, "1")
	}
	wantGet(t, c, "b", time.Hour, b, "1")
	wantGet(t, c, "a", time.Hour, b, "1")
}

func testExpiry(t *testing.T, c cache.Cache) {
	f := countingFill()
	wantGet(t, c, "a", 10*time.Millisecond, f, "1")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if got, err := c.Get(t.Context(), "a", 10*time.Millisecond, f); err != nil {
			t.Fatal(err)
		} else if string(got) != "1" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the value does not expire")
		}
	}
}

func testInvalidate(t *testing.T, c cache.Cache) {
	a, b := countingFill(), countingFill()
	wantGet(t, c, "a", time.Hour, a, "1")
	wantGet(t, c, "b", time.Hour, b, "1")
	c.Invalidate(t.Context(), "a", "nothing")
	wantGet(t, c, "a", time.Hour, a, "2")
	wantGet(t, c, "b", time.Hour, b, "1")
}

func testErrors(t *testing.T, c cache.Cache) {
	broken := errors.New("broken")
	if _, err := c.Get(t.Context(), "a", time.Hour, func(context.Context) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	wantGet(t, c, "a", time.Hour, countingFill(), "1")
}

// Of concurrent calls, one computes the value.
func testConcurrentGet(t *testing.T, c cache.Cache) {
	var computed atomic.Int64
	start := make(chan struct{})
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			<-start
			got, err := c.Get(t.Context(), "a", time.Hour, func(context.Context) ([]byte, error) {
				computed.Add(1)
				time.Sleep(20 * time.Millisecond) // so that the others arrive meanwhile
				return []byte("v"), nil
			})
			if err != nil || string(got) != "v" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	close(start)
	callers.Wait()
	if computed.Load() != 1 {
		t.Errorf("computed %d times", computed.Load())
	}
}

// The end of one caller's context does not affect the others.
func testCanceledCaller(t *testing.T, c cache.Cache) {
	ctx, cancel := context.WithCancel(t.Context())
	computing := make(chan struct{})
	var callers sync.WaitGroup
	callers.Go(func() {
		_, err := c.Get(ctx, "a", time.Hour, func(ctx context.Context) ([]byte, error) {
			close(computing)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	<-computing
	callers.Go(func() { wantGet(t, c, "a", time.Hour, countingFill(), "1") })
	cancel()
	callers.Wait()
}
