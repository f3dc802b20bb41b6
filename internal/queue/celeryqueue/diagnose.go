package celeryqueue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	Workers []WorkerState
	Results error // why results cannot be written; nil if they can
}

// A QueueState is one queue of a broker.
type QueueState struct {
	Name    string
	Shared  bool  // picket claims only tasks that it knows
	Waiting int64 // tasks
	// Unregistered are names of unknown tasks among the oldest.
	Unregistered []string
}

// A WorkerState is a worker that replied, picket's or another.
type WorkerState struct {
	Name   string
	Picket bool
	Queues []string // consumed by the worker
	Tasks  []string // registered in the worker
}

// replyTimeout is how long workers have to reply.
const replyTimeout = 1500 * time.Millisecond

// sampleSize is how many of the oldest tasks of a queue are examined.
const sampleSize = 100

// Diagnose examines the broker and asks its workers what they consume.
func (q *Queue) Diagnose(ctx context.Context) (*BrokerReport, error) {
	s := &BrokerReport{Publish: q.set.publish, Task: q.set.tasks[0]}
	var err error
	if s.Settings, err = redisurl.ReadSettings(ctx, q.client); err != nil {
		return nil, redisstats.WrapError(err)
	}
	names := q.Queues()
	if !slices.Contains(names, q.set.publish) {
		names = append(names, q.set.publish)
	}
	for _, name := range names {
		state := QueueState{Name: name, Shared: slices.Contains(q.set.sharedQueues, name)}
		for _, key := range q.set.keys.Lists(name) {
			n, err := q.client.LLen(ctx, key).Result()
			if err != nil {
				return nil, redisstats.WrapError(err)
			}
			state.Waiting += n
			oldest, err := q.client.LRange(ctx, key, -sampleSize, -1).Result()
			if err != nil {
				return nil, redisstats.WrapError(err)
			}
			for _, raw := range oldest {
				t, err := q.decoder.Decode([]byte(raw))
				switch {
				case t == nil:
					state.Unregistered = append(state.Unregistered, err.Error())
				case !slices.Contains(q.set.tasks, t.Name):
					state.Unregistered = append(state.Unregistered, t.Name)
				}
			}
		}
		slices.Sort(state.Unregistered)
		state.Unregistered = slices.Compact(state.Unregistered)
		s.Queues = append(s.Queues, state)
	}
	if q.results != nil {
		s.Results = redisstats.WrapError(q.results.Ping(ctx).Err())
	}
	s.Workers, err = q.workers(ctx)
	return s, err
}

// Consumers returns the workers that consume a queue.
func (s *BrokerReport) Consumers(queue string) []WorkerState {
	return slices.DeleteFunc(slices.Clone(s.Workers), func(w WorkerState) bool { return !slices.Contains(w.Queues, queue) })
}

// workers asks all workers for the queues that they consume and the tasks that they
// know.
func (q *Queue) workers(ctx context.Context) ([]WorkerState, error) {
	queues, err := q.broadcast(ctx, "active_queues")
	if err != nil {
		return nil, err
	}
	tasks, err := q.broadcast(ctx, "registered")
	if err != nil {
		return nil, err
	}
	conf, err := q.broadcast(ctx, "stats")
	if err != nil {
		return nil, err
	}
	var all []WorkerState
	for name, value := range queues {
		w := WorkerState{Name: name}
		var consumed []celery.QueueInfo
		var stats celery.Stats
		// Replies that cannot be decoded are ignored.
		_ = json.Unmarshal(value, &consumed)
		_ = json.Unmarshal(tasks[name], &w.Tasks)
		_ = json.Unmarshal(conf[name], &stats)
		for _, c := range consumed {
			w.Queues = append(w.Queues, c.Name)
		}
		w.Picket = stats.Pool.Implementation == Software
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b WorkerState) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// broadcast broadcasts a command and returns the replies by node.
func (q *Queue) broadcast(ctx context.Context, method string) (map[string]json.RawMessage, error) {
	c := celery.Control{Method: method, Ticket: celery.NewID(), Expires: time.Now().Add(replyTimeout),
		ReplyTo: celery.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: celery.NewID()}}
	key := q.set.keys.Reply(c.ReplyTo.RoutingKey)
	// kombu replies only to bound queues.
	binding, bound := q.set.keys.BindingKey(c.ReplyTo.Exchange), q.set.keys.BindingMember(c.ReplyTo.RoutingKey, "", c.ReplyTo.RoutingKey+"."+c.ReplyTo.Exchange)
	if err := q.client.SAdd(ctx, binding, bound).Err(); err != nil {
		return nil, redisstats.WrapError(err)
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		q.client.SRem(ctx, binding, bound)
		q.client.Del(ctx, key)
	}()
	lastReply, err := q.client.Publish(ctx, q.set.keys.ControlChannel(), c.Append(nil)).Result()
	if err != nil {
		return nil, redisstats.WrapError(err)
	}
	answers := make(map[string]json.RawMessage)
	for deadline := time.Now().Add(replyTimeout); int64(len(answers)) < lastReply; {
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		got, err := q.client.BRPop(ctx, max(left, 100*time.Millisecond), key).Result()
		if errors.Is(err, redis.Nil) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("ask workers: %w", redisstats.WrapError(err))
		}
		if node, ticket, value, err := celery.DecodeReply([]byte(got[1])); err == nil && ticket == c.Ticket {
			answers[node] = value
		}
	}
	return answers, nil
}
