package celeryworker

import (
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
