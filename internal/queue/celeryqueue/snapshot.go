package celeryqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// rejectedBytesDivisor is the divisor of Options.MaxBytes that bounds the dead letters of
// rejected events.
const rejectedBytesDivisor = 10

// A snapshot is the state of the queue at the broker.
type snapshot struct {
	queue.Stats          // without the age of the oldest message
	rejectedBytes int64  // of the dead letters of rejected events
	oldestList    string // the first list that is not empty
	time          time.Time
}

// reserveCapacity returns queue.ErrFull if there is no room for so many bytes, and whether
// the dead letters must be dropped.
func (q *Queue) reserveCapacity(ctx context.Context, bytes int64, deadLetters []queue.DeadLetter) (dropDeadLetters bool, err error) {
	read := func() (snapshot, error) { return q.readSnapshot(ctx) }
	full := func(s snapshot) error {
		if bytes > 0 && s.Bytes+bytes > q.opt.MaxBytes {
			return fmt.Errorf("%d of %d bytes held: %w", s.Bytes, q.opt.MaxBytes, queue.ErrFull)
		}
		return nil
	}
	err = q.usage.Reserve(read, full, func(s *snapshot) {
		s.Bytes += bytes
		for i := range deadLetters {
			s.rejectedBytes += int64(len(deadLetters[i].Payload))
		}
		dropDeadLetters = s.rejectedBytes > q.opt.MaxBytes/rejectedBytesDivisor
	})
	return dropDeadLetters, err
}

// readSnapshot reads the state of the queue. Python workers do not count bytes, so Redis
// is asked for them.
func (q *Queue) readSnapshot(ctx context.Context) (snapshot, error) {
	// Without the caller's cancellation: other callers use the result too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisurl.CommandTimeout)
	defer cancel()
	pipe := q.client.Pipeline()
	lists := q.allLists()
	var lengths, sizes []*redis.IntCmd
	for _, key := range lists {
		lengths, sizes = append(lengths, pipe.LLen(ctx, key)), append(sizes, pipe.MemoryUsage(ctx, key))
	}
	leased, parked, dead := pipe.ZCard(ctx, q.set.OwnKey("leases")), pipe.ZCard(ctx, q.set.OwnKey("parked")), pipe.XLen(ctx, q.set.OwnKey("dead"))
	unacked, counts := pipe.MemoryUsage(ctx, q.set.Keys.Unacked()), pipe.HGetAll(ctx, q.set.OwnKey("counts"))
	ring, now := pipe.HGetAll(ctx, q.set.OwnKey("rate")), pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) { // nil: there is no such list
		return snapshot{}, redisstats.WrapError(err)
	}
	count := redisstats.ParseInts(counts.Val())
	s := snapshot{rejectedBytes: count["rbytes"], time: now.Val(), Stats: queue.Stats{
		Pending: parked.Val(), Leased: leased.Val(), Dead: dead.Val(), LeasedEvents: leased.Val(), Bytes: count["bytes"], MaxBytes: q.opt.MaxBytes,
		Accepted: count["accepted"], Rejected: count["rejected"], Failed: count["failed"], Purged: count["purged"], Dropped: count["dropped"],
	}}
	if leased.Val()+parked.Val() > 0 {
		s.Bytes += unacked.Val()
	}
	for i, list := range lists {
		if s.oldestList == "" && lengths[i].Val() > 0 {
			s.oldestList = list
		}
		s.Pending += lengths[i].Val()
		s.Bytes += sizes[i].Val()
	}
	s.PendingEvents = s.Pending
	var r redisstats.Rates
	r.Add(now.Val(), redisstats.ParseInts(ring.Val()))
	s.InRate, s.OutRate = r.PerSecond()
	return s, nil
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
