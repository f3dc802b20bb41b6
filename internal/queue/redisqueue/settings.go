package redisqueue

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/redisurl"
)

// Settings are those of the server, and the number of shards.
type Settings struct {
	redisurl.Settings
	Shards int
}

// Settings returns the settings that were read when the queue connected.
func (q *Queue) Settings(ctx context.Context) (Settings, error) {
	if err := q.connect(ctx); err != nil {
		return Settings{}, err
	}
	return q.settings, nil
}

func (q *Queue) readSettings(ctx context.Context) (Settings, error) {
	var node redisurl.Node = q.client
	if c, ok := q.client.(*redis.ClusterClient); ok { // all nodes are assumed to have the same settings
		master, err := c.MasterForKey(ctx, q.shards[0].in)
		if err != nil {
			return Settings{}, err
		}
		node = master
	}
	s, err := redisurl.ReadSettings(ctx, node)
	return Settings{s, len(q.shards)}, err
}
