// Package rediscache is cache.Cache in Redis, so that of several servers one
// works a value out. While Redis is away each works for itself, in memory.
package rediscache

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/cache"
)

const (
	// askFor bounds what Redis may take to answer: a page is not to wait for a
	// server that is frozen.
	askFor = time.Second
	// makeFor is how long one server may take to make a value before another
	// makes it too.
	makeFor = 5 * time.Second
	// lookEvery is how often those who wait for another server look.
	lookEvery = 10 * time.Millisecond
	// awayFor is how long a Redis that did not answer is not asked.
	awayFor = 2 * time.Second
)

// A Cache is a cache.Cache in Redis.
type Cache struct {
	client redis.UniversalClient
	prefix string
	log    *slog.Logger
	// local gathers those who ask in this process, and stands in for Redis.
	local *cache.Memory
	away  atomic.Int64 // until when Redis is not asked, in Unix nanoseconds
}

var _ cache.Cache = (*Cache)(nil)

// New returns a cache whose keys begin with prefix, which is to name the store
// that the values are of. It owns the client.
func New(client redis.UniversalClient, prefix string, log *slog.Logger) *Cache {
	return &Cache{client: client, prefix: prefix, log: log, local: cache.NewMemory(time.Now)}
}

// Close closes the client.
func (c *Cache) Close() error { return c.client.Close() }

// unlock deletes a lock that is still the caller's.
var unlock = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

// Get implements cache.Cache. A value expires in Redis by itself; one process
// asks for it once, however many wait there.
func (c *Cache) Get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	if c.isAway() {
		return c.local.Get(ctx, key, ttl, fill)
	}
	// Who asks while another does waits for that one's answer; the next after
	// it asks Redis again.
	asking := "asking " + key
	defer c.local.Invalidate(ctx, asking)
	return c.local.Get(ctx, asking, ttl, func(ctx context.Context) ([]byte, error) { return c.get(ctx, key, ttl, fill) })
}

func (c *Cache) get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	name, token := c.prefix+key, rand.Text()
	for deadline := time.Now().Add(makeFor); ; {
		value, mine, err := c.ask(ctx, name, token)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return c.local.Get(ctx, key, ttl, fill) // Redis is away
		case value != nil:
			return value, nil
		case mine || time.Now().After(deadline):
			return c.make(ctx, name, token, ttl, fill)
		}
		select { // another server makes it
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// ask returns the value, or whether it is the caller's to make.
func (c *Cache) ask(ctx context.Context, name, token string) (value []byte, mine bool, err error) {
	err = c.do(ctx, func(ctx context.Context) error {
		if value, err = c.client.Get(ctx, name).Bytes(); !errors.Is(err, redis.Nil) {
			return err
		}
		if mine, err = c.client.SetNX(ctx, name+":making", token, makeFor).Result(); err != nil || !mine {
			return err
		}
		// It may have been made, and its lock given back, between the two.
		if value, err = c.client.Get(ctx, name).Bytes(); errors.Is(err, redis.Nil) {
			return nil
		}
		if err == nil {
			err = unlock.Run(ctx, c.client, []string{name + ":making"}, token).Err()
		}
		return err
	})
	return value, mine, err
}

func (c *Cache) make(ctx context.Context, name, token string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	start := time.Now()
	value, err := fill(ctx)
	ctx = context.WithoutCancel(ctx)
	_ = c.do(ctx, func(ctx context.Context) error {
		if left := ttl - time.Since(start); err == nil && left > 0 {
			// Only while nobody forgot it: what was made before a change is no good after.
			if held, e := c.client.Get(ctx, name+":making").Result(); e == nil && held == token {
				if e := c.client.Set(ctx, name, value, max(left, time.Millisecond)).Err(); e != nil {
					return e
				}
			}
		}
		return unlock.Run(ctx, c.client, []string{name + ":making"}, token).Err()
	})
	return value, err
}

// Invalidate implements cache.Cache.
func (c *Cache) Invalidate(ctx context.Context, keys ...string) {
	c.local.Invalidate(ctx, keys...)
	_ = c.do(ctx, func(ctx context.Context) error {
		for _, k := range keys { // one at a time: in a Cluster they are on several servers
			if err := c.client.Del(ctx, c.prefix+k).Err(); err != nil {
				return err
			}
			if err := c.client.Del(ctx, c.prefix+k+":making").Err(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Cache) isAway() bool { return time.Now().UnixNano() < c.away.Load() }

var errAway = errors.New("redis did not answer a moment ago")

// do asks Redis, unless it did not answer a moment ago.
func (c *Cache) do(ctx context.Context, f func(context.Context) error) error {
	if c.isAway() {
		return errAway
	}
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	err := f(asking)
	if err != nil && ctx.Err() == nil {
		if c.away.Swap(time.Now().Add(awayFor).UnixNano()) == 0 {
			c.log.Warn("cache in Redis not used; figures are worked out here until it is back", "error", err)
		}
		return err
	}
	if err == nil && c.away.Swap(0) != 0 {
		c.log.Info("cache in Redis used again")
	}
	return err
}
