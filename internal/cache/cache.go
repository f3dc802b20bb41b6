// Package cache caches the statistics that the console shows, which are expensive
// to compute: in memory, or in Redis for several servers (package rediscache).
//
// Promise: a cached value is never older than its time to live, whoever computed
// it and whatever fails; triage invalidates it at once; and of any number of
// concurrent requests for a value, one asks the store.
package cache

import (
	"context"
	"sync"
	"time"
)

// A Cache stores values by key. It is safe for concurrent use.
type Cache interface {
	// Get returns the value of a key if it was computed within ttl; otherwise it
	// calls fill and stores the result. Errors of fill are returned, not stored.
	Get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error)
	// Invalidate deletes keys; a value that is being computed is not stored.
	Invalidate(ctx context.Context, keys ...string)
}

// Memory is a Cache in this process.
type Memory struct {
	mu    sync.Mutex
	calls map[string]*fillCall
	now   func() time.Time
}

// A fillCall is one call of fill, in progress or done.
type fillCall struct {
	done       chan struct{} // closed once the rest is set
	computedAt time.Time
	value      []byte
	err        error
}

// maxCachedKeys bounds a Memory if keys are made up without end.
const maxCachedKeys = 1024

// NewMemory returns an empty Memory that uses a clock.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{calls: make(map[string]*fillCall), now: now}
}

// Get implements Cache. Calls for a value that is being computed wait for it.
func (m *Memory) Get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	for {
		m.mu.Lock()
		c := m.calls[key]
		if c == nil || !c.computedAt.IsZero() && m.now().Sub(c.computedAt) >= ttl {
			c = &fillCall{done: make(chan struct{})}
			if len(m.calls) >= maxCachedKeys {
				clear(m.calls)
			}
			m.calls[key] = c
			m.mu.Unlock()
			return m.fill(ctx, key, c, fill)
		}
		m.mu.Unlock()
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c.err == nil {
			return c.value, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if c.err != context.Canceled && c.err != context.DeadlineExceeded {
			return nil, c.err
		}
		// The context of the caller that computed it ended, not ours: try again.
	}
}

func (m *Memory) fill(ctx context.Context, key string, c *fillCall, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	start := m.now() // the value may be as old as that
	value, err := fill(ctx)
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	m.mu.Lock()
	c.value, c.err, c.computedAt = value, err, start
	if err != nil && m.calls[key] == c {
		delete(m.calls, key)
	}
	m.mu.Unlock()
	close(c.done)
	return value, err
}

// Invalidate implements Cache.
func (m *Memory) Invalidate(_ context.Context, keys ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		delete(m.calls, k)
	}
}
