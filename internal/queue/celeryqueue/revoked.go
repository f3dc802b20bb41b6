package celeryqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// revokeExpires is how long a revoked task is remembered, as Celery does; and
// maxRevoked how many are.
const (
	revokeExpires = 3 * time.Hour
	maxRevoked    = 50_000
)

// revocations are the ids of revoked tasks. They are kept at the broker, so
// that all workers know them, those that start later too.
type revocations struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (r *revocations) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id]
}

func (r *revocations) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []string{}
	for id := range r.ids {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// read reads the ids anew.
func (r *revocations) read(ctx context.Context, q *Queue) error {
	now := time.Now()
	key := q.set.key("revoked")
	pipe := q.client.Pipeline()
	pipe.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.Unix(), 10))
	pipe.ZRemRangeByRank(ctx, key, 0, -maxRevoked-1)
	all := pipe.ZRange(ctx, key, 0, -1)
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	ids := make(map[string]bool, len(all.Val()))
	for _, id := range all.Val() {
		ids[id] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = ids
	return nil
}

// revoke remembers ids, and brings forward those of the tasks that are kept
// back, so that who waits for them hears of it.
func (q *Queue) revoke(ctx context.Context, ids []string) error {
	forgotten := float64(time.Now().Add(revokeExpires).Unix())
	var members []redis.Z
	for _, id := range ids {
		members = append(members, redis.Z{Score: forgotten, Member: id})
	}
	if len(members) == 0 {
		return nil
	}
	if err := q.client.ZAdd(ctx, q.set.key("revoked"), members...).Err(); err != nil {
		return fmt.Errorf("revoke: %w", unavailable(err))
	}
	if err := q.gone.read(ctx, q); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	var back []restoration
	if err := q.eachParked(ctx, func(p parked) {
		if slices.Contains(ids, p.ID) {
			back = append(back, p.restoration)
		}
	}); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return q.restore(ctx, back)
}
