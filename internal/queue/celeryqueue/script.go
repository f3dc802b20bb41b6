package celeryqueue

import (
	"context"
	_ "embed" // of the scripts
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

//go:embed lua/lib.lua
var lib string

var (
	//go:embed lua/enqueue.lua
	enqueueLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/finish.lua
	finishLua string
	//go:embed lua/park.lua
	parkLua string
	//go:embed lua/restore.lua
	restoreLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/overdue.lua
	overdueLua string
	//go:embed lua/tend.lua
	tendLua string

	enqueueScript, claimScript, finishScript = newScript(enqueueLua), newScript(claimLua), newScript(finishLua)
	parkScript, restoreScript, renewScript   = newScript(parkLua), newScript(restoreLua), newScript(renewLua)
	overdueScript, tendScript                = newScript(overdueLua), newScript(tendLua)
)

func newScript(body string) *redis.Script { return redis.NewScript(lib + body) }

// run runs a script at the broker, in one step.
func (q *Queue) run(ctx context.Context, s *redis.Script, keys []string, args ...any) (*redis.Cmd, error) {
	if err := q.closed(); err != nil {
		return nil, err
	}
	return q.runClosing(ctx, s, keys, args...)
}

// runClosing is run for a queue that is being closed too.
func (q *Queue) runClosing(ctx context.Context, s *redis.Script, keys []string, args ...any) (*redis.Cmd, error) {
	cmd := s.Run(ctx, q.client, keys, args...)
	return cmd, unavailable(cmd.Err())
}

// unavailable gives an error of Redis its kind. Whatever keeps Redis from
// doing its part is a lack that may pass; a caller that left is not.
func unavailable(err error) error {
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return nil
	case errors.Is(err, picket.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, errClosed):
		return err
	case strings.Contains(err.Error(), "OOM command not allowed"):
		return fmt.Errorf("redis has no memory left: %w: %w", err, queue.ErrFull)
	}
	return fmt.Errorf("redis: %w: %w", err, picket.ErrUnavailable)
}
