package celeryqueue

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// maintainInterval is how often expired leases are reclaimed and due tasks released.
const maintainInterval = 200 * time.Millisecond

// reclaimBatchTasks bounds how many tasks are returned to their lists at once.
const reclaimBatchTasks = 500

// maintain renews the leases of this queue, and returns to their lists the tasks that
// are due, that a lost worker held, and that others left unacknowledged. Every queue
// does this for all.
func (q *Queue) maintain() {
	tick := time.NewTicker(min(maintainInterval, q.opt.Lease/4))
	defer tick.Stop()
	var renewed time.Time
	down := false
	for {
		select {
		case <-q.open.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), redisurl.CommandTimeout)
		var errs []error
		if time.Since(renewed) > q.opt.Lease/4 {
			renewed = time.Now()
			errs = append(errs, q.renew(ctx), q.deleteExpiredRevocations(ctx))
		}
		errs = append(errs, q.reclaim(ctx))
		cancel()
		err := errors.Join(errs...)
		if err != nil && !down {
			q.log.Warn("broker unreachable; retrying", "error", err)
		}
		down = err != nil
	}
}

// renew renews the leases of all tasks in flight, and their scores in Celery's unacked
// index, so that Celery does not redeliver them.
func (q *Queue) renew(ctx context.Context) error {
	q.mu.Lock()
	args := []any{q.opt.Lease.Seconds()}
	for _, tasks := range q.inflight {
		for _, t := range tasks {
			args = append(args, t.tag)
		}
	}
	q.mu.Unlock()
	if len(args) == 1 {
		return nil
	}
	_, err := q.runScript(ctx, renewScript, []string{q.set.Keys.UnackedIndex(), q.set.OwnKey("leases")}, args...)
	return err
}

// reclaim returns due, lost and unacknowledged tasks to their lists.
func (q *Queue) reclaim(ctx context.Context) error {
	k := q.set.Keys
	cmd, err := q.runScript(ctx, overdueScript, []string{k.Unacked(), k.UnackedIndex(), q.set.OwnKey("leases"), q.set.OwnKey("parked")},
		reclaimBatchTasks, q.set.VisibilityTimeout.Seconds())
	if err != nil {
		return err
	}
	out, err := cmd.StringSlice()
	if err != nil {
		return redisstats.WrapError(err)
	}
	var back []returnedTask
	lost := 0
	for i := 0; i+2 < len(out); i += 3 {
		r, ok := q.newReturnedTask(ctx, out[i], out[i+1], out[i+2])
		if !ok {
			continue
		}
		if r.lost {
			lost++
		}
		back = append(back, r)
	}
	if lost > 0 {
		q.log.Warn("worker lost; its tasks will be redelivered", "tasks", lost)
	}
	slices.Reverse(back) // the last one returned is consumed first
	return q.runRestoreScript(ctx, back)
}

// newReturnedTask returns the redelivery of an entry of the unacked hash. An entry that
// cannot be decoded stays where it is.
func (q *Queue) newReturnedTask(ctx context.Context, tag, reason, entry string) (task returnedTask, ok bool) {
	if entry == "" { // only its index entry or lease is left
		return returnedTask{tag: tag, list: q.set.Keys.List(q.set.Publish, 0)}, true
	}
	var parts []json.RawMessage
	var exchange, routingKey string
	if json.Unmarshal([]byte(entry), &parts) != nil || len(parts) != 3 ||
		json.Unmarshal(parts[1], &exchange) != nil || json.Unmarshal(parts[2], &routingKey) != nil {
		return returnedTask{}, false
	}
	t, _ := q.decoder.Decode(parts[0])
	if t == nil {
		t = new(celery.Task)
	}
	name := routingKey
	if exchange != "" {
		if name = q.findBoundQueue(ctx, exchange, routingKey); name == "" {
			return returnedTask{}, false
		}
	}
	r := returnedTask{tag: tag, list: q.set.Keys.List(name, t.Priority), raw: parts[0]}
	if reason == "due" {
		return r, true
	}
	r.id, r.lost = t.ID, strings.HasPrefix(tag, deliveryTagPrefix)
	if again, err := celery.MarkRedelivered(parts[0]); err == nil {
		r.raw = again
	}
	return r, true
}

// findBoundQueue returns a queue bound to a direct exchange with a routing key, "" if
// there is none.
func (q *Queue) findBoundQueue(ctx context.Context, exchange, routingKey string) string {
	members, err := q.client.SMembers(ctx, q.set.Keys.BindingKey(exchange)).Result()
	if err != nil {
		return ""
	}
	for _, m := range members {
		if name, ok := strings.CutPrefix(m, q.set.Keys.BindingMember(routingKey, "", "")); ok {
			return name
		}
	}
	return ""
}

// maxScheduledExamined bounds the delayed tasks that are examined.
const maxScheduledExamined = 10_000

// EachScheduled calls f with the tasks that are to run later, the first due first.
func (q *Queue) EachScheduled(ctx context.Context, f func(t *celery.Task, due time.Time)) error {
	return q.eachScheduled(ctx, func(t *celery.Task, due time.Time, _ returnedTask) { f(t, due) })
}

// eachScheduled is EachScheduled that also passes what returns a task to its list.
func (q *Queue) eachScheduled(ctx context.Context, f func(*celery.Task, time.Time, returnedTask)) error {
	const chunk = 500
	for from := int64(0); from < maxScheduledExamined; from += chunk {
		due, err := q.client.ZRangeWithScores(ctx, q.set.OwnKey("parked"), from, from+chunk-1).Result()
		if err != nil || len(due) == 0 {
			return redisstats.WrapError(err)
		}
		var tags []string
		for _, z := range due {
			tags = append(tags, z.Member.(string))
		}
		held, err := q.client.HMGet(ctx, q.set.Keys.Unacked(), tags...).Result()
		if err != nil {
			return redisstats.WrapError(err)
		}
		for i := range held {
			entry, _ := held[i].(string)
			r, ok := q.newReturnedTask(ctx, tags[i], "due", entry)
			if t, _ := q.decoder.Decode(r.raw); ok && t != nil {
				f(t, time.UnixMicro(int64(due[i].Score*1e6)), r)
			}
		}
	}
	return nil
}

// deliveryTagPrefix begins the tags of all tasks that picket leases.
const deliveryTagPrefix = "picket-"
