package celeryqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket/celery"
)

// heartbeat shows at once that the node is there: who begins to listen to events
// asks for it.
func (n *node) heartbeat(ctx context.Context, _ *celery.Control) (any, error) {
	n.publishWorkerEvent(ctx, "worker-heartbeat")
	return nil, nil
}

func (n *node) enableEvents(ctx context.Context, _ *celery.Control) (any, error) {
	if n.eventsEnabled.Swap(true) {
		return ok("task events already enabled")
	}
	n.publishWorkerEvent(ctx, "worker-online")
	return ok("task events enabled")
}

func (n *node) disableEvents(context.Context, *celery.Control) (any, error) {
	if !n.eventsEnabled.Swap(false) {
		return ok("task events already disabled")
	}
	return ok("task events disabled")
}

// revoke keeps tasks from being run. One that is being run is not stopped: it
// takes milliseconds, and its event was accepted.
func (n *node) revoke(ctx context.Context, c *celery.Control) (any, error) {
	ids, err := stringsOf(c, "task_id")
	if err != nil {
		return nil, err
	}
	if err := n.q.revoke(ctx, ids); err != nil {
		return nil, err
	}
	return ok("tasks %v flagged as revoked", ids)
}

func (n *node) rateLimit(_ context.Context, c *celery.Control) (any, error) {
	var name string
	var limit any
	_, err := argument(c, "task_name", &name)
	if _, err2 := argument(c, "rate_limit", &limit); err != nil || err2 != nil {
		return nil, errors.Join(err, err2)
	}
	if !slices.Contains(n.q.set.tasks, name) {
		return nil, errors.New("unknown task")
	}
	text := "0"
	if limit != nil {
		text = fmt.Sprint(limit)
	}
	if err := n.q.rateLimit.set(text); err != nil {
		return nil, err
	}
	if text == "0" {
		return ok("rate limit disabled successfully")
	}
	return ok("new rate limit set successfully")
}

func (n *node) timeLimit(_ context.Context, c *celery.Control) (any, error) {
	var name string
	var soft, hard float64
	_, err := argument(c, "task_name", &name)
	_, err2 := argument(c, "soft", &soft)
	_, err3 := argument(c, "hard", &hard)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	if !slices.Contains(n.q.set.tasks, name) {
		return nil, errors.New("unknown task")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.soft, n.hard = time.Duration(soft*float64(time.Second)), time.Duration(hard*float64(time.Second))
	return ok("time limits set successfully")
}

func (n *node) poolGrow(_ context.Context, c *celery.Control) (any, error) {
	return n.resize(c, 1, "pool will grow")
}

func (n *node) poolShrink(_ context.Context, c *celery.Control) (any, error) {
	return n.resize(c, -1, "pool will shrink")
}

// maxPoolSize bounds what remote control may make of a crew.
const maxPoolSize = 256

func (n *node) resize(c *celery.Control, sign int, done string) (any, error) {
	by := 1
	if _, err := argument(c, "n", &by); err != nil {
		return nil, err
	}
	n.Pool.Resize(min(max(n.Pool.Concurrency()+sign*by, 1), maxPoolSize))
	return ok("%s", done)
}

func (n *node) addConsumer(_ context.Context, c *celery.Control) (any, error) {
	var name string
	if there, err := argument(c, "queue", &name); err != nil || !there {
		return nil, errors.Join(err, errors.New("add_consumer: no queue is named"))
	}
	if !n.q.consume(name, true) {
		return ok("already consuming from %s", name)
	}
	return ok("add consumer %s", name)
}

func (n *node) cancelConsumer(_ context.Context, c *celery.Control) (any, error) {
	var name string
	if there, err := argument(c, "queue", &name); err != nil || !there {
		return nil, errors.Join(err, errors.New("cancel_consumer: no queue is named"))
	}
	n.q.consume(name, false)
	return ok("no longer consuming from %s", name)
}

// consume begins or ends to consume a queue, and reports whether that changes
// anything.
func (q *Queue) consume(name string, want bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.Contains(q.queues, name) == want {
		return false
	}
	if want {
		q.queues = append(slices.Clone(q.queues), name)
	} else {
		q.queues = slices.DeleteFunc(slices.Clone(q.queues), func(o string) bool { return o == name })
	}
	return true
}

func (n *node) shutdown(context.Context, *celery.Control) (any, error) {
	n.Shutdown()
	return nil, nil
}
