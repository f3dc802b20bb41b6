package celeryqueue

import (
	"context"
	"embed"
	"slices"

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
	requeueOrPurgeScript  = newScript("deadletter")
	listDeadLettersScript = newScript("listdead")
	addDeadLettersScript  = newScript("adddead")
	addCountersScript     = newScript("addcounters")
)

func newScript(name string) *redis.Script {
	library, _ := luaFiles.ReadFile("lua/lib.lua") // embedded files can be read
	body, _ := luaFiles.ReadFile("lua/" + name + ".lua")
	return redis.NewScript(redisstats.LuaLibrary + string(library) + string(body))
}

// scriptKeys returns the keys that all scripts have, in the order of lib.lua.
func (s *Settings) scriptKeys() []string {
	keys := []string{s.Keys.Unacked(), s.Keys.UnackedIndex()}
	for _, name := range []string{"leases", "parked", "tries", "lost", "revoked", "counts", "rate", "dead", "batches"} {
		keys = append(keys, s.OwnKey(name))
	}
	return keys
}

// runScript runs a script atomically at the broker. lists are the keys that it has
// besides those of all scripts.
func (q *Queue) runScript(ctx context.Context, s *redis.Script, lists []string, args ...any) (*redis.Cmd, error) {
	cmd := s.Run(ctx, q.client, slices.Concat(q.scriptKeys, lists), args...)
	return cmd, redisstats.WrapError(cmd.Err())
}
