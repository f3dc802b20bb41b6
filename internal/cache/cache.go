// Package cache keeps for a moment what the console's statistics cost to work
// out: in memory, or in Redis for several servers (package rediscache).
//
// Promise: what is shown is never older than its time to live, whoever made
// it and whatever fails; what is triaged shows at once; and however many ask
// at the same time, the store is asked once.
package cache

import (
	"context"
	"sync"
	"time"
)

// A Cache keeps values by key. It is safe for concurrent use.
type Cache interface {
	// Get returns the value of a key if it was made within ttl, and else what
	// fill makes, which it keeps. Errors of fill are returned, and not kept.
	Get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error)
	// Invalidate drops keys, so that the next Get makes them anew.
	Invalidate(ctx context.Context, keys ...string)
}

// Memory is a Cache in this process.
type Memory struct {
	mu      sync.Mutex
	entries map[string]*entry
	now     func() time.Time
}

// An entry is a value, or one in the making.
type entry struct {
	made  time.Time
	value []byte
	err   error
	done  chan struct{} // closed once it is made
}

// maxEntries bounds a Memory, should keys be made up endlessly.
const maxEntries = 1024

// NewMemory returns an empty Memory that goes by a clock.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{entries: make(map[string]*entry), now: now}
}

// Get implements Cache. Those who ask while a value is being made wait for it.
func (m *Memory) Get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	for {
		m.mu.Lock()
		e := m.entries[key]
		if e == nil || !e.made.IsZero() && m.now().Sub(e.made) >= ttl {
			e = &entry{done: make(chan struct{})}
			if len(m.entries) >= maxEntries {
				clear(m.entries)
			}
			m.entries[key] = e
			m.mu.Unlock()
			return m.fill(ctx, key, e, fill)
		}
		m.mu.Unlock()
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if e.err == nil {
			return e.value, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if e.err != context.Canceled && e.err != context.DeadlineExceeded {
			return nil, e.err
		}
		// It was another's request that ended; this one is made for itself.
	}
}

func (m *Memory) fill(ctx context.Context, key string, e *entry, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	start := m.now() // what was asked for then may be as old as that
	value, err := fill(ctx)
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	m.mu.Lock()
	e.value, e.err, e.made = value, err, start
	if err != nil && m.entries[key] == e {
		delete(m.entries, key)
	}
	m.mu.Unlock()
	close(e.done)
	return value, err
}

// Invalidate implements Cache. What is being made then is not kept.
func (m *Memory) Invalidate(_ context.Context, keys ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		delete(m.entries, k)
	}
}
