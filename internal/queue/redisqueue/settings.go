package redisqueue

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/redisurl"
)

// ServerSettings are those of the server, and the number of shards.
type ServerSettings struct {
	redisurl.Settings
	Shards int
}

// ServerSettings returns the settings that were read when the queue connected.
func (q *Queue) ServerSettings(ctx context.Context) (ServerSettings, error) {
	if err := q.connect(ctx); err != nil {
		return ServerSettings{}, err
	}
	return q.settings, nil
}

func (q *Queue) readServerSettings(ctx context.Context) (ServerSettings, error) {
	var node redisurl.Node = q.client
	if c, ok := q.client.(*redis.ClusterClient); ok { // all nodes are assumed to have the same settings
		master, err := c.MasterForKey(ctx, q.shards[0].in)
		if err != nil {
			return ServerSettings{}, err
		}
		node = master
	}
	s, err := redisurl.ReadSettings(ctx, node)
	return ServerSettings{s, len(q.shards)}, err
}
