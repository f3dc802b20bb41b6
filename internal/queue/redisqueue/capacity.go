package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// The gauge is read anew after capacityMaxAge, and when it says full after fullMaxAge.
// In between it is moved on by what this queue enqueues and acks.
const (
	capacityMaxAge = 250 * time.Millisecond
	fullMaxAge     = 20 * time.Millisecond
)

// maxMemoryShare is the part of a server's maxmemory up to which it is given
// more: beyond that it needs room to hand out and delete what it has.
const maxMemoryShare = 0.9

// A capacity knows about how full the queue is. The shards may be on many
// servers, which nobody can ask for one sum at one moment.
type capacity struct {
	mu     sync.Mutex
	read   time.Time
	bytes  int64
	memory float64 // used of maxmemory, of the fullest server; 0 where that has none
	err    error   // why it could not be read
}

func (g *capacity) add(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes += n
}

// checkCapacity returns an error that is queue.ErrFull where size bytes find none.
func (q *Queue) checkCapacity(ctx context.Context, size int64) error {
	g := &q.capacity
	g.mu.Lock()
	defer g.mu.Unlock()
	full := func() error {
		if g.err != nil {
			return g.err
		}
		if g.bytes+size > q.opt.MaxBytes {
			return fmt.Errorf("%d of %d bytes held: %w", g.bytes, q.opt.MaxBytes, queue.ErrFull)
		}
		if g.memory > maxMemoryShare {
			return fmt.Errorf("%.0f%% of redis's maxmemory used: %w", g.memory*100, queue.ErrFull)
		}
		return nil
	}
	age := time.Since(g.read)
	if age > capacityMaxAge || age > fullMaxAge && g.err == nil && full() != nil {
		// Those who waited for a server that does not answer need not ask again,
		// each for as long.
		g.err = q.readCapacity(ctx, g)
		g.read = time.Now()
	}
	return full()
}

// readCapacity reads the gauge.
func (q *Queue) readCapacity(ctx context.Context, g *capacity) error {
	// Not the caller's end: others wait for the answer too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisurl.CommandTimeout)
	defer cancel()
	pipe := q.client.Pipeline()
	var held []*redis.StringCmd
	for _, s := range q.shards {
		held = append(held, pipe.HGet(ctx, s.counts, "bytes"))
	}
	var info *redis.StringCmd
	if _, cluster := q.client.(*redis.ClusterClient); !cluster {
		info = pipe.Info(ctx, "memory")
	}
	pipe.Exec(ctx)
	var sum int64
	for _, cmd := range held {
		n, err := cmd.Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return redisstats.WrapError(err)
		}
		sum += n
	}
	g.bytes, g.memory = sum, 0
	if info != nil {
		g.memory = memoryUsed(info.Val())
		return nil
	}
	var mu sync.Mutex // the masters are asked at one time
	// One that does not answer is no reason to refuse what goes to others.
	_ = q.client.(*redis.ClusterClient).ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		used := memoryUsed(c.Info(ctx, "memory").Val())
		mu.Lock()
		defer mu.Unlock()
		g.memory = max(g.memory, used)
		return nil
	})
	return nil
}

// memoryUsed reads the share of maxmemory that is in use from INFO.
func memoryUsed(info string) float64 {
	fields := redisurl.InfoFields(info)
	most, _ := strconv.ParseFloat(fields["maxmemory"], 64)
	used, _ := strconv.ParseFloat(fields["used_memory"], 64)
	if most <= 0 {
		return 0
	}
	return used / most
}
