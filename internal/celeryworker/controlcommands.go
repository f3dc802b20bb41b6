package celeryworker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket/celery"
)

// heartbeat publishes a heartbeat at once. Programs that start to read events ask for
// it.
func (n *Node) heartbeat(ctx context.Context, _ *celery.Control) (any, error) {
	n.publishWorkerEvent(ctx, "worker-heartbeat")
	return nil, nil
}

func (n *Node) enableEvents(ctx context.Context, _ *celery.Control) (any, error) {
	if n.eventsEnabled.Swap(true) {
		return okReply("task events already enabled")
	}
	n.publishWorkerEvent(ctx, "worker-online")
	return okReply("task events enabled")
}

func (n *Node) disableEvents(context.Context, *celery.Control) (any, error) {
	if !n.eventsEnabled.Swap(false) {
		return okReply("task events already disabled")
	}
	return okReply("task events disabled")
}

// revoke revokes tasks that have not started. A running task is not stopped: it takes
// milliseconds, and its event has been accepted.
func (n *Node) revoke(ctx context.Context, c *celery.Control) (any, error) {
	ids, err := stringsOf(c, "task_id")
	if err != nil {
		return nil, err
	}
	if err := n.q.Revoke(ctx, ids); err != nil {
		return nil, err
	}
	return okReply("tasks %v flagged as revoked", ids)
}

func (n *Node) rateLimit(_ context.Context, c *celery.Control) (any, error) {
	var name string
	var limit any
	_, err := argument(c, "task_name", &name)
	if _, err2 := argument(c, "rate_limit", &limit); err != nil || err2 != nil {
		return nil, errors.Join(err, err2)
	}
	if !slices.Contains(n.broker.Tasks, name) {
		return nil, errors.New("unknown task")
	}
	text := "0"
	if limit != nil {
		text = fmt.Sprint(limit)
	}
	if err := n.q.SetRateLimit(text); err != nil {
		return nil, err
	}
	if text == "0" {
		return okReply("rate limit disabled successfully")
	}
	return okReply("new rate limit set successfully")
}

func (n *Node) timeLimit(_ context.Context, c *celery.Control) (any, error) {
	var name string
	var soft, hard float64
	_, err := argument(c, "task_name", &name)
	_, err2 := argument(c, "soft", &soft)
	_, err3 := argument(c, "hard", &hard)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	if !slices.Contains(n.broker.Tasks, name) {
		return nil, errors.New("unknown task")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.soft, n.hard = time.Duration(soft*float64(time.Second)), time.Duration(hard*float64(time.Second))
	return okReply("time limits set successfully")
}

func (n *Node) poolGrow(_ context.Context, c *celery.Control) (any, error) {
	return n.resize(c, 1, "pool will grow")
}

func (n *Node) poolShrink(_ context.Context, c *celery.Control) (any, error) {
	return n.resize(c, -1, "pool will shrink")
}

// maxPoolSize bounds what remote control can set.
const maxPoolSize = 256

func (n *Node) resize(c *celery.Control, sign int, done string) (any, error) {
	by := 1
	if _, err := argument(c, "n", &by); err != nil {
		return nil, err
	}
	n.opt.Pool.Resize(min(max(n.opt.Pool.Concurrency()+sign*by, 1), maxPoolSize))
	return okReply("%s", done)
}

func (n *Node) addConsumer(_ context.Context, c *celery.Control) (any, error) {
	var name string
	if there, err := argument(c, "queue", &name); err != nil || !there {
		return nil, errors.Join(err, errors.New("add_consumer: no queue is named"))
	}
	if !n.q.Consume(name, true) {
		return okReply("already consuming from %s", name)
	}
	return okReply("add consumer %s", name)
}

func (n *Node) cancelConsumer(_ context.Context, c *celery.Control) (any, error) {
	var name string
	if there, err := argument(c, "queue", &name); err != nil || !there {
		return nil, errors.Join(err, errors.New("cancel_consumer: no queue is named"))
	}
	n.q.Consume(name, false)
	return okReply("no longer consuming from %s", name)
}

func (n *Node) shutdown(context.Context, *celery.Control) (any, error) {
	n.opt.Shutdown()
	return nil, nil
}
