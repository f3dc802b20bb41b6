package celeryworker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/picket-edr/picket/celery"
)

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
