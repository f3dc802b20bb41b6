package celeryqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// rejectedBytesDivisor is the divisor of Options.MaxBytes that bounds the dead letters of
// rejected events.
const rejectedBytesDivisor = 10

// A usage is how much memory the broker holds for the queue.
type usage struct {
	bytes    int64 // of the lists and the dead letters
	rejected int64 // of the dead letters of rejected events
}

// reserveCapacity returns queue.ErrFull if there is no room for so many bytes, and whether
// the dead letters must be dropped.
func (q *Queue) reserveCapacity(ctx context.Context, bytes int64, deadLetters []queue.DeadLetter) (dropDeadLetters bool, err error) {
	read := func() (usage, error) { return q.measureUsage(ctx) }
	full := func(u usage) error {
		if bytes > 0 && u.bytes+bytes > q.opt.MaxBytes {
			return fmt.Errorf("%d of %d bytes held: %w", u.bytes, q.opt.MaxBytes, queue.ErrFull)
		}
		return nil
	}
	err = q.usage.Reserve(read, full, func(u *usage) {
		u.bytes += bytes
		for i := range deadLetters {
			u.rejected += int64(len(deadLetters[i].Payload))
		}
		dropDeadLetters = u.rejected > q.opt.MaxBytes/rejectedBytesDivisor
	})
	return dropDeadLetters, err
}

// measureUsage returns the memory usage of the lists and the dead letters. Python
// workers do not count bytes, so Redis is asked for it.
func (q *Queue) measureUsage(ctx context.Context) (usage, error) {
	// Without the caller's cancellation: other callers use the result too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisurl.CommandTimeout)
	defer cancel()
	pipe := q.client.Pipeline()
	var lists []*redis.IntCmd
	for _, key := range q.allLists() {
		lists = append(lists, pipe.MemoryUsage(ctx, key))
	}
	leased, parked := pipe.ZCard(ctx, q.set.OwnKey("leases")), pipe.ZCard(ctx, q.set.OwnKey("parked"))
	unacked, counts := pipe.MemoryUsage(ctx, q.set.Keys.Unacked()), pipe.HGetAll(ctx, q.set.OwnKey("counts"))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return usage{}, redisstats.WrapError(err)
	}
	count := redisstats.ParseInts(counts.Val())
	u := usage{bytes: count["bytes"], rejected: count["rbytes"]}
	for _, list := range lists {
		u.bytes += list.Val() // 0 if there is no list
	}
	if leased.Val()+parked.Val() > 0 {
		u.bytes += unacked.Val()
	}
	return u, nil
}

// allLists returns the lists of all queues that this one publishes to or consumes.
func (q *Queue) allLists() []string {
	var keys []string
	for _, l := range q.lists {
		keys = append(keys, l.key)
	}
	if !slices.Contains(q.set.ConsumedQueues(), q.set.Publish) {
		keys = append(keys, q.set.Keys.Lists(q.set.Publish)...)
	}
	return keys
}
