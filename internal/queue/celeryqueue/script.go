package celeryqueue

import (
	"context"
	"embed"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue/redisstats"
)

//go:embed lua
var luaFiles embed.FS

var (
	enqueueScript         = newScript("enqueue")
	claimScript           = newScript("claim")
	finishScript          = newScript("finish")
	scheduleScript        = newScript("schedule")
	restoreScript         = newScript("restore")
	renewScript           = newScript("renew")
	overdueScript         = newScript("overdue")
	deadLetterScript      = newScript("deadletter")
	listDeadLettersScript = newScript("listdead")
)

func newScript(name string) *redis.Script {
	library, _ := luaFiles.ReadFile("lua/lib.lua") // embedded files can be read
	body, _ := luaFiles.ReadFile("lua/" + name + ".lua")
	return redis.NewScript(redisstats.LuaLibrary + string(library) + string(body))
}

// runScript runs a script atomically at the broker.
func (q *Queue) runScript(ctx context.Context, s *redis.Script, keys []string, args ...any) (*redis.Cmd, error) {
	cmd := s.Run(ctx, q.client, keys, args...)
	return cmd, redisstats.WrapError(cmd.Err())
}
