package redisqueue

import (
	"cmp"
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// A script is Lua code that a server runs atomically.
type script struct{ source, sha string }

//go:embed lua
var luaFiles embed.FS

var (
	enqueueScript         = newScript("enqueue")
	ackScript             = newScript("ack")
	retryScript           = newScript("retry")
	buryScript            = newScript("bury")
	leaseDueScript        = newScript("due")
	claimScript           = newScript("claim")
	renewScript           = newScript("renew")
	releaseAllScript      = newScript("releaseall")
	statsScript           = newScript("stats")
	peekScript            = newScript("peek")
	requeueOrPurgeScript  = newScript("deadletters")
	listDeadLettersScript = newScript("listdead")
	addDeadLettersScript  = newScript("adddead")
	addCountersScript     = newScript("addcounters")
	removeMovedScript     = newScript("removemoved")
)

// newScript returns the embedded script of that name, with the libraries.
func newScript(name string) *script {
	source := redisstats.LuaLibrary
	for _, file := range []string{"lib", name} {
		text, err := luaFiles.ReadFile("lua/" + file + ".lua")
		if err != nil {
			panic(err)
		}
		source += string(text)
	}
	sum := sha1.Sum([]byte(source)) // EVALSHA identifies scripts by their SHA-1
	return &script{source, hex.EncodeToString(sum[:])}
}

// A call is one run of a script on keys of one shard.
type call struct {
	script     *script
	keys       []string
	args       []any
	cmd        *redis.Cmd // the result
	sendSource bool       // because the server does not have the script
}

// A call that the server did not start, because it is loading data or moving the
// shard for example, is sent at most maxSends times.
const maxSends = 6

var sendBackoff = backoff.Policy{First: 20 * time.Millisecond, Max: 640 * time.Millisecond}

// runCalls runs calls in one pipeline, and with fsync waits until their changes are on
// disk. It resends calls that the server did not start, but none that may have
// run. It returns the first error; each call has its own.
func (q *Queue) runCalls(ctx context.Context, calls []*call, fsync bool) error {
	var failed error
	for n := 1; ; n++ {
		var again []*call
		synced := q.sendCallsOnce(ctx, calls, fsync)
		for _, c := range calls {
			switch err := c.cmd.Err(); {
			case err == nil || errors.Is(err, redis.Nil):
				failed = cmp.Or(failed, synced) // it ran, but may not be on disk
			case isNotExecuted(err):
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
			if err := q.createConsumerGroups(ctx, q.shards); err != nil {
				return redisstats.WrapError(err)
			}
		}
		if n > 1 || !again[0].sendSource { // the source is sent at once
			sendBackoff.Wait(ctx, n)
		}
		calls = again
	}
}

// sendCallsOnce sends calls once. It returns the error of the fsync; each call has its
// own.
func (q *Queue) sendCallsOnce(ctx context.Context, calls []*call, fsync bool) error {
	var pipe redis.Pipeliner
	cluster, _ := q.client.(*redis.ClusterClient)
	if fsync && cluster != nil {
		// WAITAOF must use the connection of the writes, and therefore one node.
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
	pipe.Exec(ctx) // each command has its own error
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
	return checkFsynced(synced)
}

// checkFsynced checks the reply of WAITAOF, the number of servers that have
// fsynced. At its timeout it replies too, without an error.
func checkFsynced(cmd *redis.Cmd) error {
	n, err := cmd.Int64Slice()
	if err != nil {
		return fmt.Errorf("wait for the disk: %w", err)
	}
	if len(n) < 1 || n[0] < 1 {
		return fmt.Errorf("the server did not sync to its disk in time: %w", picket.ErrUnavailable)
	}
	return nil
}

// isNotExecuted reports whether the server did not run a script for a reason that is
// likely to be temporary.
func isNotExecuted(err error) bool {
	for _, prefix := range []string{"NOSCRIPT", "LOADING", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return isNoGroup(err) || isDialFailure(err)
}

// isNoGroup recognizes the error also when it was raised inside a script.
func isNoGroup(err error) bool { return err != nil && strings.Contains(err.Error(), "NOGROUP") }

// isDialFailure reports whether no connection could be made.
func isDialFailure(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" && !op.Timeout()
}
