package celeryqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// revocationTTL is how long a revocation lasts, as in Celery; maxRevocations bounds the
// revocations.
const (
	revocationTTL  = 3 * time.Hour
	maxRevocations = 50_000
)

// Revoke revokes tasks. Delayed ones return to their lists at once, so that whoever
// waits for them gets a result.
func (q *Queue) Revoke(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	var members []redis.Z
	for _, id := range ids {
		members = append(members, redis.Z{Score: float64(time.Now().Add(revocationTTL).Unix()), Member: id})
	}
	err := redisstats.WrapError(q.client.ZAdd(ctx, q.set.OwnKey("revoked"), members...).Err())
	var delayed []*UnackedTask
	if err == nil {
		err = q.EachScheduled(ctx, func(t *UnackedTask) {
			if slices.Contains(ids, t.ID) {
				delayed = append(delayed, t)
			}
		})
	}
	if err == nil {
		err = q.restore(ctx, delayed, notAttempted)
	}
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// RevokedIDs returns the ids of revoked tasks. They are stored at the broker, for all
// workers, including those that start later.
func (q *Queue) RevokedIDs(ctx context.Context) ([]string, error) {
	ids, err := q.client.ZRange(ctx, q.set.OwnKey("revoked"), 0, -1).Result()
	return append([]string{}, ids...), redisstats.WrapError(err)
}

// revokedAmong returns which of the tasks are revoked.
func (q *Queue) revokedAmong(ctx context.Context, tasks []*UnackedTask) (revokedIDs map[string]bool, err error) {
	var ids []string
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	until, err := q.client.ZMScore(ctx, q.set.OwnKey("revoked"), ids...).Result()
	revoked := make(map[string]bool)
	for i := range until {
		revoked[ids[i]] = until[i] > 0 // 0 if there is none
	}
	return revoked, redisstats.WrapError(err)
}

// deleteExpiredRevocations deletes old revocations.
func (q *Queue) deleteExpiredRevocations(ctx context.Context) error {
	pipe := q.client.Pipeline()
	pipe.ZRemRangeByScore(ctx, q.set.OwnKey("revoked"), "-inf", strconv.FormatInt(time.Now().Unix(), 10))
	pipe.ZRemRangeByRank(ctx, q.set.OwnKey("revoked"), 0, -maxRevocations-1)
	_, err := pipe.Exec(ctx)
	return redisstats.WrapError(err)
}
