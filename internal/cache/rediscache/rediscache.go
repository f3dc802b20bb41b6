// Package rediscache is a cache.Cache in Redis, so that of several servers one
// computes a value. While Redis is unreachable, each server computes and caches
// values in memory.
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
	// requestTimeout is how long Redis may take to answer: a page must not wait
	// for a server that hangs.
	requestTimeout = time.Second
	// computeLockTTL is how long one server may take to compute a value before
	// another one computes it too.
	computeLockTTL = 5 * time.Second
	// pollInterval is how often servers check for a value that another server
	// computes.
	pollInterval = 10 * time.Millisecond
	// unavailableFor is how long a Redis that did not answer is not used.
	unavailableFor = 2 * time.Second
)

// A Cache is a cache.Cache in Redis.
type Cache struct {
	client redis.UniversalClient
	prefix string
	log    *slog.Logger
	// local merges concurrent calls of this process, and replaces Redis while that
	// is unreachable.
	local            *cache.Memory
	unavailableUntil atomic.Int64 // Unix nanoseconds
}

var _ cache.Cache = (*Cache)(nil)

// New returns a cache whose keys begin with prefix, which must identify the store
// that the values come from. The cache owns the client.
func New(client redis.UniversalClient, prefix string, log *slog.Logger) *Cache {
	return &Cache{client: client, prefix: prefix, log: log, local: cache.NewMemory(time.Now)}
}

// Close closes the client.
func (c *Cache) Close() error { return c.client.Close() }

// unlockScript deletes a lock if the caller still holds it.
var unlockScript = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

// computeLockKey is the key of the lock for computing a value.
func computeLockKey(name string) string { return name + ":making" }

// Get implements cache.Cache. Values expire in Redis. Of the concurrent calls of a
// process, one sends a request.
func (c *Cache) Get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	if c.isUnavailable() {
		return c.local.Get(ctx, key, ttl, fill)
	}
	// The answer is shared with concurrent calls only: the next call sends a
	// request again.
	request := "asking " + key
	defer c.local.Invalidate(ctx, request)
	return c.local.Get(ctx, request, ttl, func(ctx context.Context) ([]byte, error) { return c.get(ctx, key, ttl, fill) })
}

func (c *Cache) get(ctx context.Context, key string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	name, token := c.prefix+key, rand.Text()
	for deadline := time.Now().Add(computeLockTTL); ; {
		value, locked, err := c.readOrLock(ctx, name, token)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil: // Redis is unreachable
			return c.local.Get(ctx, key, ttl, fill)
		case value != nil:
			return value, nil
		case locked || time.Now().After(deadline):
			return c.computeAndStore(ctx, name, token, ttl, fill)
		}
		select { // another server is computing it
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// readOrLock returns the value or, if there is none, whether it has acquired the
// lock for computing it.
func (c *Cache) readOrLock(ctx context.Context, name, lockToken string) (value []byte, locked bool, err error) {
	err = c.callIfAvailable(ctx, func(ctx context.Context) error {
		if value, err = c.client.Get(ctx, name).Bytes(); !errors.Is(err, redis.Nil) {
			return err
		}
		if locked, err = c.client.SetNX(ctx, computeLockKey(name), lockToken, computeLockTTL).Result(); err != nil || !locked {
			return err
		}
		// Another server may have stored it, and released its lock, in between.
		if value, err = c.client.Get(ctx, name).Bytes(); errors.Is(err, redis.Nil) {
			return nil
		}
		if err == nil {
			err = unlockScript.Run(ctx, c.client, []string{computeLockKey(name)}, lockToken).Err()
		}
		return err
	})
	return value, locked, err
}

func (c *Cache) computeAndStore(ctx context.Context, name, lockToken string, ttl time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	start := time.Now()
	value, err := fill(ctx)
	ctx = context.WithoutCancel(ctx)
	_ = c.callIfAvailable(ctx, func(ctx context.Context) error {
		if left := ttl - time.Since(start); err == nil && left > 0 {
			// Without the lock the key has been invalidated meanwhile, and the value
			// may be from before the change.
			if holder, e := c.client.Get(ctx, computeLockKey(name)).Result(); e == nil && holder == lockToken {
				if e := c.client.Set(ctx, name, value, max(left, time.Millisecond)).Err(); e != nil {
					return e
				}
			}
		}
		return unlockScript.Run(ctx, c.client, []string{computeLockKey(name)}, lockToken).Err()
	})
	return value, err
}

// Invalidate implements cache.Cache.
func (c *Cache) Invalidate(ctx context.Context, keys ...string) {
	c.local.Invalidate(ctx, keys...)
	_ = c.callIfAvailable(ctx, func(ctx context.Context) error {
		for _, k := range keys { // one at a time, because in a Cluster they are on several servers
			if err := c.client.Del(ctx, c.prefix+k).Err(); err != nil {
				return err
			}
			if err := c.client.Del(ctx, computeLockKey(c.prefix+k)).Err(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Cache) isUnavailable() bool { return time.Now().UnixNano() < c.unavailableUntil.Load() }

var errUnavailable = errors.New("redis did not answer recently")

// callIfAvailable calls f, unless Redis did not answer recently.
func (c *Cache) callIfAvailable(ctx context.Context, f func(context.Context) error) error {
	if c.isUnavailable() {
		return errUnavailable
	}
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := f(bounded)
	if err != nil && ctx.Err() == nil {
		if c.unavailableUntil.Swap(time.Now().Add(unavailableFor).UnixNano()) == 0 {
			c.log.Warn("Redis cache unreachable; computing statistics locally", "error", err)
		}
		return err
	}
	if err == nil && c.unavailableUntil.Swap(0) != 0 {
		c.log.Info("Redis cache reachable again")
	}
	return err
}
