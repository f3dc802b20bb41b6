// Package cachetest holds every cache.Cache to the promises of that package.
// An implementation's own test calls Run.
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

// Run runs the suite on empty caches.
func Run(t *testing.T, open func(t *testing.T) cache.Cache) {
	for name, test := range map[string]func(*testing.T, cache.Cache){
		"Keeps": keeps, "Ages": ages, "Forgets": forgets, "Errors": failures, "Once": once, "Cancelled": cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// counter makes another value each time.
func counter() func(context.Context) ([]byte, error) {
	var n atomic.Int64
	return func(context.Context) ([]byte, error) { return fmt.Append(nil, n.Add(1)), nil }
}

func get(t *testing.T, c cache.Cache, key string, ttl time.Duration, fill func(context.Context) ([]byte, error), want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key, ttl, fill); err != nil || string(got) != want {
		t.Errorf("%s is %q, %v; want %q", key, got, err, want)
	}
}

func keeps(t *testing.T, c cache.Cache) {
	a, b := counter(), counter()
	for range 3 {
		get(t, c, "a", time.Hour, a, "1")
	}
	get(t, c, "b", time.Hour, b, "1")
	get(t, c, "a", time.Hour, b, "1")
}

func ages(t *testing.T, c cache.Cache) {
	f := counter()
	get(t, c, "a", 10*time.Millisecond, f, "1")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if got, err := c.Get(t.Context(), "a", 10*time.Millisecond, f); err != nil {
			t.Fatal(err)
		} else if string(got) != "1" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it is kept for ever")
		}
	}
}

func forgets(t *testing.T, c cache.Cache) {
	a, b := counter(), counter()
	get(t, c, "a", time.Hour, a, "1")
	get(t, c, "b", time.Hour, b, "1")
	c.Invalidate(t.Context(), "a", "nothing")
	get(t, c, "a", time.Hour, a, "2")
	get(t, c, "b", time.Hour, b, "1")
}

func failures(t *testing.T, c cache.Cache) {
	broken := errors.New("broken")
	if _, err := c.Get(t.Context(), "a", time.Hour, func(context.Context) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	get(t, c, "a", time.Hour, counter(), "1")
}

// Of many who ask at once, one makes the value.
func once(t *testing.T, c cache.Cache) {
	var made atomic.Int64
	start := make(chan struct{})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			<-start
			got, err := c.Get(t.Context(), "a", time.Hour, func(context.Context) ([]byte, error) {
				made.Add(1)
				time.Sleep(20 * time.Millisecond) // that the others come meanwhile
				return []byte("v"), nil
			})
			if err != nil || string(got) != "v" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	close(start)
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

// That one who asks goes away is no matter for the others.
func cancelled(t *testing.T, c cache.Cache) {
	ctx, cancel := context.WithCancel(t.Context())
	making := make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		_, err := c.Get(ctx, "a", time.Hour, func(ctx context.Context) ([]byte, error) {
			close(making)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	<-making
	first.Go(func() { get(t, c, "a", time.Hour, counter(), "1") })
	cancel()
	first.Wait()
}
