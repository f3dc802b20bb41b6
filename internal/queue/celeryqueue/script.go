package celeryqueue

import (
	"context"
	_ "embed" // of the scripts

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue/redisstats"
)

//go:embed lua/lib.lua
var luaLibrary string

var (
	//go:embed lua/enqueue.lua
	enqueueLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/finish.lua
	finishLua string
	//go:embed lua/schedule.lua
	scheduleLua string
	//go:embed lua/restore.lua
	restoreLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/overdue.lua
	overdueLua string
	//go:embed lua/deadletter.lua
	deadLetterLua string
	//go:embed lua/listdead.lua
	listDeadLettersLua string

	enqueueScript, claimScript, finishScript   = newScript(enqueueLua), newScript(claimLua), newScript(finishLua)
	scheduleScript, restoreScript, renewScript = newScript(scheduleLua), newScript(restoreLua), newScript(renewLua)
	overdueScript, deadLetterScript            = newScript(overdueLua), newScript(deadLetterLua)
	listDeadLettersScript                      = newScript(listDeadLettersLua)
)

func newScript(body string) *redis.Script {
	return redis.NewScript(redisstats.LuaLibrary + luaLibrary + body)
}

// runScript runs a script atomically at the broker.
func (q *Queue) runScript(ctx context.Context, s *redis.Script, keys []string, args ...any) (*redis.Cmd, error) {
	cmd := s.Run(ctx, q.client, keys, args...)
	return cmd, redisstats.WrapError(cmd.Err())
}
