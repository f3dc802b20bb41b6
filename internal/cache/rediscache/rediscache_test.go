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
	"github.com/picket-edr/picket/internal/testenv"
)

// open returns a cache like that of another server.
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

// Of several servers one computes a value, and what one invalidates is computed
// again for all.
func TestSeveralServers(t *testing.T) {
	s := redistest.Start(t)
	a, b := open(t, s), open(t, s)
	var computed atomic.Int64
	fill := func(context.Context) ([]byte, error) {
		computed.Add(1)
		time.Sleep(20 * time.Millisecond) // so that the other arrives meanwhile
		return []byte("v"), nil
	}
	both := func() {
		var callers sync.WaitGroup
		for _, c := range []*rediscache.Cache{a, b, a, b} {
			callers.Go(func() {
				if v, err := c.Get(t.Context(), "k", time.Hour, fill); err != nil || string(v) != "v" {
					t.Errorf("%q, %v", v, err)
				}
			})
		}
		callers.Wait()
	}
	both()
	both()
	if computed.Load() != 1 {
		t.Errorf("computed %d times", computed.Load())
	}
	a.Invalidate(t.Context(), "k")
	both()
	if computed.Load() != 2 {
		t.Errorf("computed %d times after it was invalidated", computed.Load())
	}
}

// While Redis hangs or is down, values are computed locally; and no value is
// returned after it has expired.
func TestUnreachable(t *testing.T) {
	s := redistest.Start(t)
	c := open(t, s)
	n := 0
	get := func() int {
		t.Helper()
		if _, err := c.Get(t.Context(), "k", 50*time.Millisecond, func(context.Context) ([]byte, error) { n++; return []byte("v"), nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// waitForExpiry waits until the value is computed again.
	waitForExpiry := func(when string) {
		t.Helper()
		before := n
		testenv.Until(t, when+": the value expires", func() bool { return get() != before })
	}
	get()
	s.Pause()
	waitForExpiry("Redis hangs")
	s.Resume()
	s.Kill()
	waitForExpiry("Redis is down")
	s.StartAgain()
	waitForExpiry("Redis is back")
}
