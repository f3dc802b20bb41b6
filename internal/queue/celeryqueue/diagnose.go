package celeryqueue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// A BrokerReport is what Diagnose finds at a broker.
type BrokerReport struct {
	redisurl.Settings
	Publish string // the queue that the intake publishes to
	Task    string // the name of the tasks that it publishes
	Queues  []QueueState
	Workers []InspectedWorker // those that replied, sorted by name
	Results error             // why results cannot be written; nil if they can
}

// A QueueState is one queue of a broker.
type QueueState struct {
	Name         string
	Shared       bool     // picket claims only tasks that it knows
	Waiting      int64    // tasks
	Unregistered []string // names of unknown tasks among the oldest
}

// An InspectedWorker is a worker that replied, picket's or another.
type InspectedWorker struct {
	Name   string
	Queues []string // consumed by the worker
	Tasks  []string // registered in the worker
}

// workerReplyTimeout is how long workers have to reply.
const workerReplyTimeout = 1500 * time.Millisecond

// maxSampledTasks is how many of the oldest tasks of a queue are examined.
const maxSampledTasks = 100

// Diagnose examines the broker and asks its workers what they consume.
func (q *Queue) Diagnose(ctx context.Context) (*BrokerReport, error) {
	s := &BrokerReport{Publish: q.set.Publish, Task: q.set.Tasks[0]}
	var err error
	if s.Settings, err = redisurl.ReadSettings(ctx, q.client); err != nil {
		return nil, redisstats.WrapError(err)
	}
	names := q.set.ConsumedQueues()
	if !slices.Contains(names, q.set.Publish) {
		names = append(names, q.set.Publish)
	}
	for _, name := range names {
		state, err := q.queueState(ctx, name)
		if err != nil {
			return nil, redisstats.WrapError(err)
		}
		s.Queues = append(s.Queues, state)
	}
	if q.results != nil {
		s.Results = redisstats.WrapError(q.results.Ping(ctx).Err())
	}
	s.Workers, err = q.inspectWorkers(ctx)
	return s, redisstats.WrapError(err)
}

// queueState examines one queue.
func (q *Queue) queueState(ctx context.Context, name string) (QueueState, error) {
	state := QueueState{Name: name, Shared: slices.Contains(q.set.SharedQueues, name)}
	unregistered := make(map[string]bool)
	for _, key := range q.set.Keys.Lists(name) {
		pipe := q.client.Pipeline()
		length, oldest := pipe.LLen(ctx, key), pipe.LRange(ctx, key, -maxSampledTasks, -1)
		if _, err := pipe.Exec(ctx); err != nil {
			return state, err
		}
		state.Waiting += length.Val()
		for _, raw := range oldest.Val() {
			t, err := q.decoder.Decode([]byte(raw))
			switch {
			case t == nil:
				unregistered[err.Error()] = true
			case !slices.Contains(q.set.Tasks, t.Name):
				unregistered[t.Name] = true
			}
		}
	}
	state.Unregistered = slices.Sorted(maps.Keys(unregistered))
	return state, nil
}

// Consumers returns the workers that consume a queue.
func (s *BrokerReport) Consumers(queue string) []InspectedWorker {
	return slices.DeleteFunc(slices.Clone(s.Workers), func(w InspectedWorker) bool { return !slices.Contains(w.Queues, queue) })
}

// inspectWorkers asks all workers for the queues that they consume and the tasks that they
// know. Replies that cannot be decoded are ignored.
func (q *Queue) inspectWorkers(ctx context.Context) ([]InspectedWorker, error) {
	queues, err := q.broadcast(ctx, "active_queues")
	tasks, err2 := q.broadcast(ctx, "registered")
	if err := cmp.Or(err, err2); err != nil {
		return nil, err
	}
	var all []InspectedWorker
	for _, name := range slices.Sorted(maps.Keys(queues)) {
		w := InspectedWorker{Name: name}
		var consumed []struct{ Name string }
		_ = json.Unmarshal(queues[name], &consumed)
		_ = json.Unmarshal(tasks[name], &w.Tasks)
		for _, c := range consumed {
			w.Queues = append(w.Queues, c.Name)
		}
		all = append(all, w)
	}
	return all, nil
}

// broadcast broadcasts a command and returns the replies by node.
func (q *Queue) broadcast(ctx context.Context, command string) (repliesByNode map[string]json.RawMessage, err error) {
	c := celery.NewControl(command, time.Now().Add(workerReplyTimeout))
	message, err := c.Append(nil)
	if err != nil {
		return nil, err
	}
	oid, exchange := c.ReplyTo.RoutingKey, c.ReplyTo.Exchange
	key := q.set.Keys.Reply(oid)
	binding, bound := q.set.Keys.BindingKey(exchange), celery.BindingMember(oid, oid+"."+exchange)
	if err := q.client.SAdd(ctx, binding, bound).Err(); err != nil {
		return nil, err
	}
	defer q.client.SRem(context.WithoutCancel(ctx), binding, bound)
	defer q.client.Del(context.WithoutCancel(ctx), key)
	receivers, err := q.client.Publish(ctx, q.set.Keys.ControlChannel(), message).Result()
	if err != nil {
		return nil, err
	}
	replies := make(map[string]json.RawMessage)
	for int64(len(replies)) < receivers && time.Now().Before(c.Expires) {
		got, err := q.client.BRPop(ctx, max(time.Until(c.Expires), 100*time.Millisecond), key).Result()
		if errors.Is(err, redis.Nil) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("ask workers: %w", err)
		}
		if node, value, err := celery.DecodeReply([]byte(got[1])); err == nil {
			replies[node] = value
		}
	}
	return replies, nil
}
