package redisqueue

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/redisurl"
)

// formatVersion is the version of the keys, stored in the hash picket:meta.
const formatVersion = 1

// setUp creates the queue's keys or reads its number of shards, and checks the
// server's settings.
func (q *Queue) setUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*redisurl.CommandTimeout)
	defer cancel()
	n, err := q.readOrStoreShardCount(ctx)
	if err != nil {
		return err
	}
	q.shards, q.pipeliners = nil, nil
	for i := range n {
		q.shards = append(q.shards, newShard(q.config.Prefix, i))
	}
	if _, ok := q.client.(*redis.ClusterClient); ok {
		for i := range q.shards {
			q.pipeliners = append(q.pipeliners, newPipeliner(q, q.shards[i:i+1]))
		}
	} else {
		q.pipeliners = []*pipeliner{newPipeliner(q, q.shards)}
	}
	if err := q.createConsumerGroups(ctx, q.shards); err != nil {
		return err
	}
	if q.settings, err = q.readServerSettings(ctx); err != nil {
		return err
	}
	wait := redisurl.FsyncNotAwaited
	if q.opt.Fsync {
		wait = redisurl.FsyncAwaited
	}
	q.settings.LogDurabilityWarnings(q.log, wait)
	if !q.opt.Fsync {
		return nil
	}
	if q.waitAOF, err = q.settings.NeedsWaitAOF(); err != nil {
		return err
	}
	return nil
}

// readOrStoreShardCount returns the number of shards, after storing it for a new queue.
func (q *Queue) readOrStoreShardCount(ctx context.Context) (shards int, err error) {
	key := q.config.Prefix + ":meta"
	want := q.opt.Shards
	if want == 0 {
		want = defaultShards
	}
	pipe := q.client.Pipeline()
	pipe.HSetNX(ctx, key, "format", formatVersion)
	pipe.HSetNX(ctx, key, "shards", want)
	meta := pipe.HGetAll(ctx, key)
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("read %s: %w", key, err)
	}
	if v := meta.Val()["format"]; v != strconv.Itoa(formatVersion) {
		return 0, fmt.Errorf("the queue has format %q, and this picket reads %d: use the picket that wrote it: %w", v, formatVersion, picket.ErrInvalid)
	}
	n, err := strconv.Atoi(meta.Val()["shards"])
	if err != nil || n < 1 || n > maxShards {
		return 0, fmt.Errorf("%s says %q shards: %w", key, meta.Val()["shards"], picket.ErrInvalid)
	}
	if q.opt.Shards != 0 && n != q.opt.Shards {
		return 0, fmt.Errorf("the queue has %d shards, not %d, which cannot be changed: %w", n, q.opt.Shards, picket.ErrInvalid)
	}
	return n, nil
}

// groupName is the name of the consumer group, also known to the scripts.
const groupName = "workers"

// createConsumerGroups creates missing consumer groups. They start at the first message:
// acked messages are deleted, so no message is delivered again needlessly.
func (q *Queue) createConsumerGroups(ctx context.Context, shards []*shard) error {
	pipe := q.client.Pipeline()
	for _, s := range shards {
		pipe.XGroupCreateMkStream(ctx, s.in, groupName, "0")
	}
	cmds, _ := pipe.Exec(ctx)
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			return fmt.Errorf("create consumer group: %w", err)
		}
	}
	return nil
}
