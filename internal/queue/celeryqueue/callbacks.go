package celeryqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// publishFollowUps publishes the tasks that follow finished ones: links, the next task
// of a chain, errbacks, and the callback of a chord whose last member has finished.
// They go to the queue that their signature names or, if it names none, to the queue
// that the intake publishes to.
func (q *Queue) publishFollowUps(ctx context.Context, finished []FinishedTask) error {
	var next []celery.Task
	for i := range finished {
		o := &finished[i]
		if len(o.Callbacks)+len(o.Errbacks)+len(o.Chain) == 0 && o.Chord == nil {
			continue
		}
		var tasks []celery.Task
		var err error
		if o.status == celery.Success {
			tasks, err = o.FollowUpTasks(o.value())
		} else {
			tasks, err = o.ErrbackTasks()
		}
		if err != nil {
			q.log.Error("publishing follow-up tasks failed", "task", o.ID, "error", err)
		}
		last, err := q.onChordPart(ctx, o)
		if err != nil {
			return err
		}
		tasks = append(tasks, last...)
		o.children = celery.ResultChildren(tasks)
		for _, t := range tasks {
			if t.RoutingKey == "" {
				t.RoutingKey = q.set.publish
			}
			next = append(next, t)
		}
	}
	if len(next) == 0 {
		return nil
	}
	pipe := q.client.Pipeline()
	for i := range next {
		if n := next[i].ChordSize; n > 0 && q.results != nil { // set before the first member can finish
			if err := q.results.Set(ctx, q.set.keys.ChordSize(next[i].GroupID), n, q.set.expires).Err(); err != nil {
				return fmt.Errorf("publish follow-up tasks: %w", redisstats.WrapError(err))
			}
		}
		pipe.LPush(ctx, q.set.keys.List(next[i].RoutingKey, next[i].Priority), next[i].Append(nil))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("publish follow-up tasks: %w", redisstats.WrapError(err))
	}
	return nil
}

// onChordPart adds the result of a chord's member, and returns the chord's callback
// once all members have finished.
//
// Source: celery/backends/redis.py RedisBackend.on_chord_part_return.
func (q *Queue) onChordPart(ctx context.Context, o *FinishedTask) ([]celery.Task, error) {
	if o.Chord == nil || o.GroupID == "" || q.results == nil {
		return nil, nil
	}
	k := q.set.keys
	parts, added, size := k.ChordResults(o.GroupID), k.ChordAdded(o.GroupID), k.ChordSize(o.GroupID)
	score := float64(o.GroupIndex)
	if o.GroupIndex < 0 {
		score = math.Inf(1)
	}
	pipe := q.results.TxPipeline()
	pipe.ZAdd(ctx, parts, redis.Z{Score: score, Member: celery.AppendMember(nil, o.result(time.Now()))})
	count, more, begun := pipe.ZCard(ctx, parts), pipe.Get(ctx, added), pipe.Get(ctx, size)
	for _, key := range []string{parts, added, size} {
		pipe.Expire(ctx, key, max(q.set.expires, time.Hour))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("chord %s: %w", o.GroupID, redisstats.WrapError(err))
	}
	number := func(text string) int64 { n, _ := strconv.ParseInt(text, 10, 64); return n }
	if begun.Val() == "" || count.Val() < number(begun.Val())+number(more.Val()) {
		return nil, nil
	}
	members, err := q.results.ZRange(ctx, parts, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("chord %s: %w", o.GroupID, redisstats.WrapError(err))
	}
	var results []json.RawMessage
	for _, m := range members {
		r, err := celery.DecodeMember([]byte(m))
		if err != nil {
			return nil, fmt.Errorf("chord %s: %w", o.GroupID, err)
		}
		if r.Status != celery.Success {
			return nil, q.failChord(ctx, o, r)
		}
		results = append(results, r.Value)
	}
	tasks, err := o.ChordCallback(results)
	if err != nil {
		q.log.Error("publishing the callback of a chord failed", "chord", o.GroupID, "error", err)
	}
	return tasks, redisstats.WrapError(q.results.Del(ctx, parts, added, size).Err())
}

// failChord writes the result of a chord one of whose members has failed.
func (q *Queue) failChord(ctx context.Context, o *FinishedTask, member *celery.Result) error {
	var id string
	if json.Unmarshal(o.Chord.Options["task_id"], &id) != nil || id == "" {
		return nil
	}
	r := celery.Result{TaskID: id, Status: celery.Failure, Exception: celery.ChordError(member), Done: time.Now()}
	return q.writeResults(ctx, []string{q.set.keys.Result(id)}, [][]byte{r.Append(nil)})
}
