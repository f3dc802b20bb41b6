package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// maxMemoryFraction is the fraction of a server's maxmemory up to which messages are
// enqueued. The server needs the rest to deliver and delete messages.
const maxMemoryFraction = 0.9

// A usage is how full the queue is, approximately: the shards can be on many servers,
// which cannot be read at the same moment.
type usage struct {
	bytes          int64
	memoryFraction float64 // fraction of maxmemory used, of the fullest server; 0 without maxmemory
}

// addUsage records that the queue holds so many bytes more.
func (q *Queue) addUsage(bytes int64) { q.usage.Add(func(u *usage) { u.bytes += bytes }) }

// checkCapacity returns queue.ErrFull if there is no space for so many bytes.
func (q *Queue) checkCapacity(ctx context.Context, bytes int64) error {
	full := func(u usage) error {
		if u.bytes+bytes > q.opt.MaxBytes {
			return fmt.Errorf("%d of %d bytes held: %w", u.bytes, q.opt.MaxBytes, queue.ErrFull)
		}
		if u.memoryFraction > maxMemoryFraction {
			return fmt.Errorf("%.0f%% of redis's maxmemory used: %w", u.memoryFraction*100, queue.ErrFull)
		}
		return nil
	}
	return q.usage.Reserve(func() (usage, error) { return q.readMemoryUsage(ctx) }, full, func(*usage) {})
}

// readMemoryUsage reads the usage from the servers.
func (q *Queue) readMemoryUsage(ctx context.Context) (usage, error) {
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
	var u usage
	for _, cmd := range bytes {
		n, err := cmd.Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return usage{}, redisstats.WrapError(err)
		}
		u.bytes += n
	}
	if info != nil {
		u.memoryFraction = usedMemoryFraction(info.Val())
		return u, nil
	}
	var mu sync.Mutex // ForEachMaster is concurrent
	// A server that does not answer must not stop enqueuing to others.
	_ = q.client.(*redis.ClusterClient).ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		used := usedMemoryFraction(master.Info(ctx, "memory").Val())
		mu.Lock()
		defer mu.Unlock()
		u.memoryFraction = max(u.memoryFraction, used)
		return nil
	})
	return u, nil
}

// usedMemoryFraction reads the fraction of maxmemory that is in use from the reply of
// INFO; 0 without maxmemory.
func usedMemoryFraction(info string) float64 {
	fields := redisurl.ParseInfo(info)
	limit, _ := strconv.ParseFloat(fields["maxmemory"], 64)
	used, _ := strconv.ParseFloat(fields["used_memory"], 64)
	if limit <= 0 {
		return 0
	}
	return used / limit
}
