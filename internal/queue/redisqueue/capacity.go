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

// The capacity is read again after capacityMaxAge, or after fullMaxAge if the
// queue is full. In between, it is updated by what this queue enqueues and acks.
const (
	capacityMaxAge = 250 * time.Millisecond
	fullMaxAge     = 20 * time.Millisecond
)

// maxMemoryShare is the fraction of a server's maxmemory up to which messages are
// enqueued. The server needs the rest to deliver and delete messages.
const maxMemoryShare = 0.9

// capacity tells how full the queue is, approximately: the shards can be on many
// servers, which cannot be read at the same moment.
type capacity struct {
	mu     sync.Mutex
	read   time.Time
	bytes  int64
	memory float64 // fraction of maxmemory used, of the fullest server; 0 without maxmemory
	err    error   // of the last read
}

func (c *capacity) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes += n
}

// checkCapacity returns queue.ErrFull if there is no space for size bytes.
func (q *Queue) checkCapacity(ctx context.Context, size int64) error {
	c := &q.capacity
	c.mu.Lock()
	defer c.mu.Unlock()
	full := func() error {
		if c.err != nil {
			return c.err
		}
		if c.bytes+size > q.opt.MaxBytes {
			return fmt.Errorf("%d of %d bytes held: %w", c.bytes, q.opt.MaxBytes, queue.ErrFull)
		}
		if c.memory > maxMemoryShare {
			return fmt.Errorf("%.0f%% of redis's maxmemory used: %w", c.memory*100, queue.ErrFull)
		}
		return nil
	}
	age := time.Since(c.read)
	if age > capacityMaxAge || age > fullMaxAge && c.err == nil && full() != nil {
		// Errors are cached too, or every caller would wait for the timeout of a
		// server that does not answer, one after another.
		c.err = q.readCapacity(ctx, c)
		c.read = time.Now()
	}
	return full()
}

// readCapacity reads c from the servers.
func (q *Queue) readCapacity(ctx context.Context, c *capacity) error {
	// Not canceled with the caller: others wait for the result too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisurl.CommandTimeout)
	defer cancel()
	pipe := q.client.Pipeline()
	var bytes []*redis.StringCmd
	for _, s := range q.shards {
		bytes = append(bytes, pipe.HGet(ctx, s.counts, "bytes"))
	}
	var info *redis.StringCmd
	if _, cluster := q.client.(*redis.ClusterClient); !cluster {
		info = pipe.Info(ctx, "memory")
	}
	pipe.Exec(ctx)
	var sum int64
	for _, cmd := range bytes {
		n, err := cmd.Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return redisstats.WrapError(err)
		}
		sum += n
	}
	c.bytes, c.memory = sum, 0
	if info != nil {
		c.memory = memoryUsed(info.Val())
		return nil
	}
	var mu sync.Mutex // ForEachMaster is concurrent
	// A server that does not answer must not stop enqueuing to others.
	_ = q.client.(*redis.ClusterClient).ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		used := memoryUsed(master.Info(ctx, "memory").Val())
		mu.Lock()
		defer mu.Unlock()
		c.memory = max(c.memory, used)
		return nil
	})
	return nil
}

// memoryUsed reads the fraction of maxmemory that is in use from the reply of
// INFO; 0 without maxmemory.
func memoryUsed(info string) float64 {
	fields := redisurl.InfoFields(info)
	limit, _ := strconv.ParseFloat(fields["maxmemory"], 64)
	used, _ := strconv.ParseFloat(fields["used_memory"], 64)
	if limit <= 0 {
		return 0
	}
	return used / limit
}
