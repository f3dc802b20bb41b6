package celeryworker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/redisurl"
)

// replyExpires is how long a reply waits to be read. Celery keeps it forever.
const replyExpires = time.Minute

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
	var answer any
	command, known := commands[c.Method]
	if known {
		answer, err = command(n, ctx, c)
	} else {
		err = fmt.Errorf("KeyError('%s')", c.Method)
	}
	if err != nil {
		answer = celery.ErrorReply{Error: err.Error()}
	}
	if stateChanging[c.Method] {
		n.log.Info("remote control command", "command", c.Method, "arguments", string(c.Arguments), "error", err)
	}
	if !c.WantsReply() || answer == nil {
		return
	}
	value, err := json.Marshal(answer)
	if err != nil {
		value = json.RawMessage(`{"error": "the answer cannot be encoded"}`)
	}
	key := n.broker.Keys.Reply(c.ReplyTo.RoutingKey)
	pipe := n.broker.Client.Pipeline()
	pipe.LPush(ctx, key, celery.AppendReply(nil, n.name, c, value, n.clock.Tick()))
	pipe.Expire(ctx, key, replyExpires)
	if _, err := pipe.Exec(ctx); err != nil {
		n.log.Warn("replying to remote control command failed", "command", c.Method, "error", err)
	}
}

// stateChanging are the commands that change something. They are logged; their sender
// is not known.
var stateChanging = map[string]bool{
	"revoke": true, "terminate": true, "rate_limit": true, "time_limit": true, "pool_grow": true, "pool_shrink": true,
	"add_consumer": true, "cancel_consumer": true, "shutdown": true,
}

// commands are the remote control commands.
//
// Source: celery/worker/control.py.
var commands = map[string]func(*Node, context.Context, *celery.Control) (any, error){
	"ping":  func(*Node, context.Context, *celery.Control) (any, error) { return celery.PongReply(), nil },
	"hello": (*Node).hello,
	"stats": (*Node).stats,
	"clock": func(n *Node, _ context.Context, _ *celery.Control) (any, error) {
		return map[string]int64{"clock": n.clock.Now()}, nil
	},
	"conf":            (*Node).conf,
	"report":          (*Node).report,
	"active":          (*Node).active,
	"reserved":        func(*Node, context.Context, *celery.Control) (any, error) { return []celery.TaskInfo{}, nil },
	"scheduled":       (*Node).scheduled,
	"registered":      (*Node).registered,
	"active_queues":   (*Node).activeQueues,
	"revoked":         func(n *Node, ctx context.Context, _ *celery.Control) (any, error) { return n.q.RevokedIDs(ctx) },
	"query_task":      (*Node).queryTask,
	"heartbeat":       (*Node).heartbeat,
	"enable_events":   (*Node).enableEvents,
	"disable_events":  (*Node).disableEvents,
	"revoke":          (*Node).revoke,
	"terminate":       (*Node).revoke,
	"rate_limit":      (*Node).rateLimit,
	"time_limit":      (*Node).timeLimit,
	"pool_grow":       (*Node).poolGrow,
	"pool_shrink":     (*Node).poolShrink,
	"pool_restart":    func(*Node, context.Context, *celery.Control) (any, error) { return nil, errNoRestarts },
	"autoscale":       func(*Node, context.Context, *celery.Control) (any, error) { return nil, errNoAutoscale },
	"add_consumer":    (*Node).addConsumer,
	"cancel_consumer": (*Node).cancelConsumer,
	"shutdown":        (*Node).shutdown,
}

var (
	errNoRestarts = errors.New("Pool restarts not enabled")
	//lint:ignore ST1005 Celery's wording
	errNoAutoscale = errors.New("Autoscale not enabled")
)

// argument decodes an argument into to, and reports whether it exists.
func argument(c *celery.Control, name string, to any) (bool, error) {
	raw, ok := c.Argument(name)
	if !ok || string(raw) == "null" {
		return false, nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return false, fmt.Errorf("%s: argument %s is not understood", c.Method, name)
	}
	return true, nil
}

func okReply(format string, args ...any) (any, error) {
	return celery.OKReply{OK: fmt.Sprintf(format, args...)}, nil
}

// stringsOf returns an argument that is a string or a list of strings.
func stringsOf(c *celery.Control, name string) ([]string, error) {
	raw, _ := c.Argument(name)
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var all []string
	_, err := argument(c, name, &all)
	return all, err
}
