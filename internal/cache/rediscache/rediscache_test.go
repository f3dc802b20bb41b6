package rediscache_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/cache"
	"github.com/picket-edr/picket/internal/cache/cachetest"
	"github.com/picket-edr/picket/internal/cache/rediscache"
	"github.com/picket-edr/picket/internal/redistest"
)

// open returns a cache as another server has it.
func open(t *testing.T, s *redistest.Server) *rediscache.Cache {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{s.Addr}, DB: 1, ContextTimeoutEnabled: true, MaxRetries: -1})
	c := rediscache.New(client, t.Name()+":", slog.New(slog.DiscardHandler))
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCache(t *testing.T) {
	s := redistest.Start(t)
	cachetest.Run(t, func(t *testing.T) cache.Cache { return open(t, s) })
}

// Of several servers one makes a value, and what one forgets is forgotten by
// all.
func TestServers(t *testing.T) {
	s := redistest.Start(t)
	a, b := open(t, s), open(t, s)
	var made atomic.Int64
	fill := func(context.Context) ([]byte, error) {
		made.Add(1)
		time.Sleep(20 * time.Millisecond) // that the other comes meanwhile
		return []byte("v"), nil
	}
	both := func() {
		var all sync.WaitGroup
		for _, c := range []*rediscache.Cache{a, b, a, b} {
			all.Go(func() {
				if v, err := c.Get(t.Context(), "k", time.Hour, fill); err != nil || string(v) != "v" {
					t.Errorf("%q, %v", v, err)
				}
			})
		}
		all.Wait()
	}
	both()
	both()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
	a.Invalidate(t.Context(), "k")
	both()
	if made.Load() != 2 {
		t.Errorf("made %d times after it was forgotten", made.Load())
	}
}

// While Redis is frozen or gone, values are made here, at once and right; and
// nothing of before is shown after.
func TestAway(t *testing.T) {
	s := redistest.Start(t)
	c := open(t, s)
	n := 0
	get := func() int {
		t.Helper()
		start := time.Now()
		if _, err := c.Get(t.Context(), "k", 50*time.Millisecond, func(context.Context) ([]byte, error) { n++; return []byte("v"), nil }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
		return n
	}
	// ages waits until a value is made anew.
	ages := func(when string) {
		t.Helper()
		for before, deadline := n, time.Now().Add(20*time.Second); get() == before; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: a value is kept for ever", when)
			}
		}
	}
	get()
	s.Pause()
	ages("frozen")
	s.Resume()
	s.Kill()
	ages("gone")
	s.Start()
	ages("back")
}
