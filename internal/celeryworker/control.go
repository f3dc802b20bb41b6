package celeryworker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/redisurl"
)

// replyTTL is how long a reply waits to be read. Celery keeps it forever.
const replyTTL = time.Minute

// handleControl carries out a command and replies if asked to.
func (n *Node) handleControl(ctx context.Context, message []byte) {
	c, err := celery.DecodeControl(message)
	if err != nil {
		n.log.Warn("decoding remote control command failed", "error", err)
		return
	}
	n.clock.Adjust(c.Clock)
	if !c.Matches(n.name) || !c.Expires.IsZero() && time.Now().After(c.Expires) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisurl.CommandTimeout)
	defer cancel()
	var reply any
	if run, known := commandHandlers[c.Method]; known {
		reply, err = run(n, ctx, c)
	} else {
		err = fmt.Errorf("KeyError('%s')", c.Method)
	}
	if err != nil {
		reply = map[string]string{"error": err.Error()}
	}
	if slices.Contains(stateChangingCommands, c.Method) {
		n.log.Info("remote control command", "command", c.Method, "arguments", string(c.Arguments), "error", err)
	}
	if !c.WantsReply() || reply == nil {
		return
	}
	value, err := json.Marshal(reply)
	if err != nil {
		value = json.RawMessage(`{"error": "the answer cannot be encoded"}`)
	}
	key := n.set.Keys.Reply(c.ReplyTo.RoutingKey)
	pipe := n.q.Client().Pipeline()
	pipe.LPush(ctx, key, celery.AppendReply(nil, n.name, c, value, n.clock.Tick()))
	pipe.Expire(ctx, key, replyTTL)
	if _, err := pipe.Exec(ctx); err != nil {
		n.log.Warn("replying to remote control command failed", "command", c.Method, "error", err)
	}
}

// stateChangingCommands are the commands that change something. They are logged; their
// sender is not known.
var stateChangingCommands = []string{"revoke", "terminate", "pool_grow", "pool_shrink", "shutdown"}

// commandHandlers are the remote control commands. All others are answered with an error.
//
// Source: celery/worker/control.py.
var commandHandlers = map[string]func(*Node, context.Context, *celery.Control) (any, error){
	"ping":           func(*Node, context.Context, *celery.Control) (any, error) { return okReply("pong") },
	"hello":          (*Node).handleHello,
	"stats":          (*Node).handleStats,
	"conf":           (*Node).handleConf,
	"active":         (*Node).handleActive,
	"reserved":       func(*Node, context.Context, *celery.Control) (any, error) { return []any{}, nil },
	"scheduled":      (*Node).handleScheduled,
	"registered":     func(n *Node, _ context.Context, _ *celery.Control) (any, error) { return n.set.Tasks, nil },
	"active_queues":  (*Node).handleActiveQueues,
	"revoked":        func(n *Node, ctx context.Context, _ *celery.Control) (any, error) { return n.q.RevokedIDs(ctx) },
	"heartbeat":      (*Node).handleHeartbeatCommand,
	"enable_events":  (*Node).handleEnableEvents,
	"disable_events": (*Node).handleDisableEvents,
	"revoke":         (*Node).handleRevoke,
	"terminate":      (*Node).handleRevoke,
	"pool_grow": func(n *Node, _ context.Context, c *celery.Control) (any, error) {
		return n.handlePoolResize(c, 1, "grow")
	},
	"pool_shrink": func(n *Node, _ context.Context, c *celery.Control) (any, error) {
		return n.handlePoolResize(c, -1, "shrink")
	},
	"shutdown": func(n *Node, _ context.Context, _ *celery.Control) (any, error) { n.opt.Shutdown(); return nil, nil },
}

// okReply is the reply to a command that was carried out.
func okReply(format string, args ...any) (any, error) {
	return map[string]string{"ok": fmt.Sprintf(format, args...)}, nil
}

// decodeArguments decodes the arguments of a command. What is missing or null is
// unchanged.
func decodeArguments(c *celery.Control, to any) error {
	if len(c.Arguments) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Arguments, to); err != nil {
		return fmt.Errorf("%s: arguments are not understood: %w", c.Method, err)
	}
	return nil
}

// handleHeartbeatCommand publishes a heartbeat at once. Programs that start to read
// events ask for it.
func (n *Node) handleHeartbeatCommand(ctx context.Context, _ *celery.Control) (any, error) {
	n.publishWorkerEvent(ctx, "worker-heartbeat")
	return nil, nil
}

func (n *Node) handleEnableEvents(ctx context.Context, _ *celery.Control) (any, error) {
	if n.eventsEnabled.Swap(true) {
		return okReply("task events already enabled")
	}
	n.publishWorkerEvent(ctx, "worker-online")
	return okReply("task events enabled")
}

func (n *Node) handleDisableEvents(context.Context, *celery.Control) (any, error) {
	if !n.eventsEnabled.Swap(false) {
		return okReply("task events already disabled")
	}
	return okReply("task events disabled")
}

// handleRevoke revokes tasks that have not started. A running task is not stopped: it
// takes milliseconds, and its event has been accepted.
func (n *Node) handleRevoke(ctx context.Context, c *celery.Control) (any, error) {
	var args struct {
		IDs json.RawMessage `json:"task_id"`
	}
	if err := decodeArguments(c, &args); err != nil {
		return nil, err
	}
	var ids []string
	if bytes.HasPrefix(args.IDs, []byte{'"'}) { // one instead of a list
		args.IDs = fmt.Appendf(nil, "[%s]", args.IDs)
	}
	if err := json.Unmarshal(args.IDs, &ids); err != nil {
		return nil, fmt.Errorf("revoke: task_id is not understood: %w", err)
	}
	if err := n.q.Revoke(ctx, ids); err != nil {
		return nil, err
	}
	return okReply("tasks %v flagged as revoked", ids)
}

// maxPoolSize bounds what remote control can set.
const maxPoolSize = 256

func (n *Node) handlePoolResize(c *celery.Control, sign int, what string) (any, error) {
	args := struct{ N int }{1}
	if err := decodeArguments(c, &args); err != nil {
		return nil, err
	}
	n.opt.Pool.Resize(min(max(n.opt.Pool.Concurrency()+sign*args.N, 1), maxPoolSize))
	return okReply("pool will %s", what)
}
