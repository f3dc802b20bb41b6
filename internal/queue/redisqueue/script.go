package redisqueue

import (
	"cmp"
	"context"
	"crypto/sha1"
	_ "embed" // of the scripts
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// A script is Lua that a server runs in one step.
type script struct{ source, sha string }

//go:embed lua/lib.lua
var lib string

var (
	//go:embed lua/enqueue.lua
	enqueueLua string
	//go:embed lua/ack.lua
	ackLua string
	//go:embed lua/retry.lua
	retryLua string
	//go:embed lua/bury.lua
	buryLua string
	//go:embed lua/due.lua
	dueLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/releaseall.lua
	releaseAllLua string
	//go:embed lua/stats.lua
	statsLua string
	//go:embed lua/peek.lua
	peekLua string
	//go:embed lua/deadletters.lua
	deadLettersLua string

	enqueueScript, ackScript, retryScript, buryScript     = newScript(enqueueLua), newScript(ackLua), newScript(retryLua), newScript(buryLua)
	dueScript, claimScript, renewScript, releaseAllScript = newScript(dueLua), newScript(claimLua), newScript(renewLua), newScript(releaseAllLua)
	statsScript, peekScript, deadLettersScript            = newScript(statsLua), newScript(peekLua), newScript(deadLettersLua)
)

func newScript(body string) *script {
	source := redisstats.LuaLibrary + lib + body
	sum := sha1.Sum([]byte(source)) // Redis names scripts so
	return &script{source, hex.EncodeToString(sum[:])}
}

// A call is one script with its keys, all of one shard, and what came of it.
type call struct {
	script     *script
	keys       []string
	args       []any
	cmd        *redis.Cmd
	sendSource bool // the server did not know the script
}

// maxSends is how often a call goes out that the server refused to begin with,
// as one does that is starting, or whose Cluster is moving the shard.
const maxSends = 6

// run runs calls in one pipeline, with fsync until they are on disk. Those
// that a server did not begin are sent again; one that may have run is not.
// It returns the first error; each call has its own.
func (q *Queue) run(ctx context.Context, calls []*call, fsync bool) error {
	var failed error
	for n := 1; ; n++ {
		var again []*call
		synced := q.send(ctx, calls, fsync)
		for _, c := range calls {
			switch err := c.cmd.Err(); {
			case err == nil || errors.Is(err, redis.Nil):
				failed = cmp.Or(failed, synced) // it ran, and may not be on disk
			case notStarted(err):
				c.sendSource = c.sendSource || redis.HasErrorPrefix(err, "NOSCRIPT")
				again = append(again, c)
			default:
				failed = cmp.Or(failed, err)
			}
		}
		if len(again) == 0 {
			return redisstats.WrapError(failed)
		}
		err := again[0].cmd.Err()
		if n == maxSends || ctx.Err() != nil {
			return redisstats.WrapError(cmp.Or(failed, err))
		}
		if isNoGroup(err) {
			if err := q.createGroups(ctx, q.shards); err != nil {
				return redisstats.WrapError(err)
			}
		}
		if n > 1 || !again[0].sendSource { // a script that is not known there yet goes at once
			pause(ctx, jitter(10*time.Millisecond<<n))
		}
		calls = again
	}
}

// send sends calls once. It returns the error of the sync; each call has its
// own.
func (q *Queue) send(ctx context.Context, calls []*call, fsync bool) error {
	var pipe redis.Pipeliner
	cluster, _ := q.client.(*redis.ClusterClient)
	if fsync && cluster != nil {
		// The sync must travel on the connection of the writes, so to one node.
		node, err := cluster.MasterForKey(ctx, calls[0].keys[0])
		if err != nil {
			for _, c := range calls {
				c.cmd = redis.NewCmd(ctx)
				c.cmd.SetErr(err)
			}
			return nil
		}
		pipe = node.Pipeline()
	} else {
		pipe = q.client.Pipeline()
	}
	for _, c := range calls {
		if c.sendSource {
			c.cmd = pipe.Eval(ctx, c.script.source, c.keys, c.args...)
		} else {
			c.cmd = pipe.EvalSha(ctx, c.script.sha, c.keys, c.args...)
		}
	}
	var synced *redis.Cmd
	if fsync {
		synced = pipe.Do(ctx, "waitaof", 1, 0, (redisurl.CommandTimeout - redisurl.CommandTimeout/10).Milliseconds())
	}
	pipe.Exec(ctx) // each command has its error
	if cluster != nil && fsync {
		for _, c := range calls {
			if redis.HasErrorPrefix(c.cmd.Err(), "MOVED") {
				cluster.ReloadState(ctx)
				break
			}
		}
	}
	if synced == nil {
		return nil
	}
	return syncedLocally(synced)
}

// syncedLocally reads WAITAOF's answer: how many copies are on disk. It
// answers at its timeout too.
func syncedLocally(cmd *redis.Cmd) error {
	n, err := cmd.Int64Slice()
	if err != nil {
		return fmt.Errorf("wait for the disk: %w", err)
	}
	if len(n) < 1 || n[0] < 1 {
		return fmt.Errorf("the server did not sync to its disk in time: %w", picket.ErrUnavailable)
	}
	return nil
}

// notStarted reports whether a server refused a script before it changed
// anything, for a reason that may pass soon.
func notStarted(err error) bool {
	for _, prefix := range []string{"NOSCRIPT", "LOADING", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return isNoGroup(err) || isConnRefused(err)
}

// isNoGroup knows the error also where a script passes it on in its own words.
func isNoGroup(err error) bool { return err != nil && strings.Contains(err.Error(), "NOGROUP") }

// isConnRefused reports whether there was no connection to send anything on.
func isConnRefused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" && !op.Timeout()
}

// jitter is d, give or take a half, so that not all come back at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
