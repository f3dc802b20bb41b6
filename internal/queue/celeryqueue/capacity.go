package celeryqueue

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

// The usage is measured again after capacityAge or, if the broker is full, after
// fullCapacityAge. In between it is estimated from what this queue publishes.
const (
	capacityAge     = 250 * time.Millisecond
	fullCapacityAge = 20 * time.Millisecond
)

// rejectedShare is the divisor of Options.MaxBytes that bounds the dead letters of
// rejected events.
const rejectedShare = 10

// A capacity tracks how full the broker is. Python workers do not count bytes, so Redis
// is asked for its memory usage.
type capacity struct {
	mu       sync.Mutex
	read     time.Time
	bytes    int64 // of the lists and the dead letters
	rejected int64 // of the dead letters of rejected events
	err      error // why it could not be measured
}

// reserve returns queue.ErrFull if there is no room for size bytes, and whether the
// dead letters must be dropped.
func (g *capacity) reserve(ctx context.Context, q *Queue, size int64, deadLetters []queue.DeadLetter) (dropDeadLetters bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	full := func() error {
		if g.err == nil && size > 0 && g.bytes+size > q.opt.MaxBytes {
			return fmt.Errorf("%d of %d bytes held: %w", g.bytes, q.opt.MaxBytes, queue.ErrFull)
		}
		return g.err
	}
	age := time.Since(g.read)
	if age > capacityAge || age > fullCapacityAge && g.err == nil && full() != nil {
		g.bytes, g.rejected, g.err = q.measureUsage(ctx)
		g.read = time.Now()
	}
	if err := full(); err != nil {
		return false, err
	}
	g.bytes += size
	for i := range deadLetters {
		g.rejected += int64(len(deadLetters[i].Payload))
	}
	return g.rejected > q.opt.MaxBytes/rejectedShare, nil
}

// measureUsage returns the memory usage of the lists and the dead letters.
func (q *Queue) measureUsage(ctx context.Context) (bytes, rejected int64, err error) {
	// Without the caller's cancellation: other callers use the result too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisurl.CommandTimeout)
	defer cancel()
	pipe := q.client.Pipeline()
	var held []*redis.IntCmd
	for _, key := range q.allLists() {
		held = append(held, pipe.MemoryUsage(ctx, key))
	}
	leased, parked := pipe.ZCard(ctx, q.set.key("leases")), pipe.ZCard(ctx, q.set.key("parked"))
	unacked := pipe.MemoryUsage(ctx, q.set.keys.Unacked())
	counts := pipe.HMGet(ctx, q.set.key("counts"), "bytes", "rbytes")
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return 0, 0, redisstats.WrapError(err)
	}
	for _, cmd := range held {
		bytes += cmd.Val() // 0 if there is no list
	}
	if leased.Val()+parked.Val() > 0 {
		bytes += unacked.Val()
	}
	number := func(v any) int64 { text, _ := v.(string); n, _ := strconv.ParseInt(text, 10, 64); return n }
	return bytes + number(counts.Val()[0]), number(counts.Val()[1]), nil
}

// allLists returns the lists of all queues that this one publishes to or consumes.
func (q *Queue) allLists() []string {
	var keys []string
	publish := q.set.keys.Lists(q.set.publish)
	for _, l := range q.lists() {
		if l.queue == q.set.publish {
			publish = nil
		}
		keys = append(keys, l.key)
	}
	return append(keys, publish...)
}
