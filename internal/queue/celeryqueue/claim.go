package celeryqueue

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/jsonescape"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// maxClaimBytes bounds the bytes of the tasks claimed at once.
const maxClaimBytes = 4 << 20

// The interval of polls of empty queues grows from the first to the second of these.
// Polling is needed: BRPOP would remove a task before it is leased.
const (
	minPollInterval = 4 * time.Millisecond
	maxPollInterval = 40 * time.Millisecond
)

// maxUnconfirmedClaims bounds the claims whose replies were lost and that are asked for
// again.
const maxUnconfirmedClaims = 8

// A priorityList is one of kombu's Redis lists: a queue at one priority.
type priorityList struct {
	key    string
	queue  string
	shared bool
}

// consumedLists returns the lists to consume, in order: all queues at the first
// priority, then all at the next.
func (s *Settings) consumedLists() []priorityList {
	var all []priorityList
	for step := range s.Keys.Lists("") {
		for _, name := range s.ConsumedQueues() {
			all = append(all, priorityList{s.Keys.Lists(name)[step], name, slices.Contains(s.SharedQueues, name)})
		}
	}
	return all
}

// Receive implements queue.Queue. A delivery holds up to Options.Group tasks.
func (q *Queue) Receive(ctx context.Context, _ int) ([]queue.Delivery, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(q.open, func() { cancel(redisstats.ErrQueueClosed) })()
	for {
		ds, err := q.receive(ctx)
		if err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		if len(ds) > 0 {
			return ds, nil
		}
	}
}

// receive claims tasks and returns deliveries of those to run, which may be none.
func (q *Queue) receive(ctx context.Context) ([]queue.Delivery, error) {
	select {
	case q.receiveMu <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	done := sync.OnceFunc(func() { <-q.receiveMu })
	defer done()
	limit, isolating := q.opt.Group, q.isolating.Load()
	if isolating {
		limit = 1
		if err := q.waitIdleForIsolation(ctx); err != nil {
			return nil, err
		}
	}
	l, err := q.waitAndClaim(ctx, limit)
	if err != nil {
		return nil, err
	}
	if !isolating {
		done() // another goroutine can claim meanwhile
	}
	ds, err := q.classify(context.WithoutCancel(ctx), l, isolating)
	if err != nil {
		q.markUnconfirmed(l.prefix) // the next claim returns what is still leased
	}
	return ds, err
}

// A claimResult is the result of one claim.
type claimResult struct {
	prefix  string         // of the tags
	tasks   []*UnackedTask // not decoded yet
	tried   bool           // some tasks, these or others, have been tried before
	revoked bool           // some tasks are revoked
}

// waitAndClaim waits for tasks and claims up to limit of them. The caller holds
// receiveMu.
func (q *Queue) waitAndClaim(ctx context.Context, limit int) (claimResult, error) {
	for idle := minPollInterval; ; idle = min(idle*5/4, q.unregistered.maxPollInterval()) {
		if err := cmp.Or(q.checkOpen(), context.Cause(ctx)); err != nil {
			return claimResult{}, err
		}
		l, err := q.claimOnce(ctx, limit)
		if err != nil || len(l.tasks) > 0 {
			return l, err
		}
		backoff.Sleep(ctx, idle)
	}
}

// claimOnce claims up to limit of the tasks that are available now.
func (q *Queue) claimOnce(ctx context.Context, limit int) (claimResult, error) {
	q.claims++
	l := claimResult{prefix: q.tagPrefix + strconv.FormatInt(q.claims, 36) + "-"}
	var unconfirmed []string
	for len(q.unconfirmed) > 0 {
		unconfirmed = append(unconfirmed, <-q.unconfirmed)
		limit = q.opt.Group // unconfirmed claims may have been this large
	}
	lists, args := q.claimArguments(limit, l.prefix, unconfirmed)
	// Without the caller's cancellation: what was claimed must be returned.
	cmd, err := q.runScript(context.WithoutCancel(ctx), claimScript, lists, args...)
	if err != nil {
		for _, prefix := range append(unconfirmed, l.prefix) {
			q.markUnconfirmed(prefix) // the claim may have happened
		}
		return l, err
	}
	out, err := cmd.Slice()
	if err != nil || len(out) < 3 {
		return l, fmt.Errorf("claim tasks: %d values: %w", len(out), redisstats.WrapError(err))
	}
	q.unregistered.recordClaim(out[0] != int64(0))
	l.tried, l.revoked = out[1] != int64(0), out[2] != int64(0)
	now := time.Now()
	for i := 3; i+2 < len(out); i += 3 {
		tag, _ := out[i].(string)
		list, _ := out[i+1].(int64) // from 1
		raw, _ := out[i+2].(string)
		l.tasks = append(l.tasks, &UnackedTask{tag: tag, raw: []byte(raw), queue: q.lists[list-1].queue, started: now, foreign: true})
	}
	return l, nil
}

// claimArguments returns the lists and arguments of the claim script.
func (q *Queue) claimArguments(limit int, prefix string, unconfirmed []string) (lists []string, args []any) {
	args = []any{limit, maxClaimBytes, q.opt.Lease.Seconds(), prefix}
	claimUnregistered := q.unregistered.shouldClaim()
	for _, l := range q.lists {
		lists = append(lists, l.key)
		how := ""
		if l.shared && !claimUnregistered {
			how = "shared"
		}
		args = append(args, how, string(jsonescape.AppendASCII(nil, l.queue)))
	}
	args = append(args, 2*len(q.set.Tasks))
	for _, name := range q.set.Tasks {
		text := string(jsonescape.AppendASCII(nil, name))
		args = append(args, `"task": `+text, `"task":`+text)
	}
	for _, prefix := range unconfirmed {
		args = append(args, prefix)
	}
	return lists, args
}

// markUnconfirmed records a claim whose outcome is unknown. If there are too many, its
// tasks are claimed when their leases expire.
func (q *Queue) markUnconfirmed(prefix string) {
	select {
	case q.unconfirmed <- prefix:
	default:
	}
}

// A UnackedTask is a leased or scheduled task.
type UnackedTask struct {
	*celery.Task
	Result  celery.Result // of a task that has finished
	Expired bool          // it was revoked because it had expired

	tag         string // names the lease, and the entry in the unacked hash
	raw         []byte // the message
	queue       string
	started     time.Time // when it was claimed
	queued      time.Time // when picket published it
	event       picket.Event
	foreign     bool               // not published by picket
	attempts    int                // earlier attempts
	lost        int                // how often its worker was lost
	matches     int                // matches of its event
	deadLetters []queue.DeadLetter // to be stored when it finishes
}

// classify decodes tasks, finishes those that must not run, schedules those that run
// later, and returns deliveries of the rest.
func (q *Queue) classify(ctx context.Context, l claimResult, nothingLeased bool) ([]queue.Delivery, error) {
	now := time.Now()
	errs := make([]error, len(l.tasks))
	for i, t := range l.tasks {
		if t.Task, errs[i] = q.decoder.Decode(t.raw); t.Task == nil {
			t.Task = &celery.Task{GroupIndex: -1, IgnoreResult: true}
		}
	}
	var revoked map[string]bool
	if l.revoked {
		var err error
		if revoked, err = q.revokedAmong(ctx, l.tasks); err != nil {
			return nil, err
		}
	}
	var run, later, finished []*UnackedTask
	for i, t := range l.tasks {
		switch {
		case q.finishEarly(t, errs[i], revoked[t.ID], now):
			finished = append(finished, t)
		case t.ETA.After(now):
			later = append(later, t)
		default:
			run = append(run, t)
		}
	}
	q.notifyReceived(run, later, finished)
	if err := errors.Join(q.schedule(ctx, later, notAttempted), q.finish(ctx, finished)); err != nil {
		return nil, err // all of them are claimed again
	}
	return q.deliver(ctx, run, l.tried, nothingLeased)
}

// finishEarly sets the result of a task that must not run, and the event of another. err
// is why the task could not be decoded.
func (q *Queue) finishEarly(t *UnackedTask, err error, revoked bool, now time.Time) (finished bool) {
	switch {
	case err != nil:
		t.reject("DecodeError", err)
	case !slices.Contains(q.set.Tasks, t.Name):
		t.reject("NotRegistered", errors.New(t.Name))
	case revoked:
		t.raise(celery.Revoked, "TaskRevokedError", "revoked")
	case !t.Expires.IsZero() && !t.Expires.After(now):
		t.raise(celery.Revoked, "TaskRevokedError", "expired")
		t.Expired = true
	case len(t.FollowUps()) > 0: // they would be lost if the task ran
		t.reject("NotImplementedError", fmt.Errorf("links, chains and chords are not supported, and the task has %s; send it alone, or run it on a Python worker",
			strings.Join(t.FollowUps(), " and ")))
	case t.ETA.After(now):
		return false
	default:
		if err = q.readEvent(t, now); err == nil {
			return false
		}
		t.reject("ValueError", err)
	}
	return true
}

// deliver returns deliveries of the tasks that can be delivered together, and returns
// others to their lists.
func (q *Queue) deliver(ctx context.Context, run []*UnackedTask, anyTried, nothingLeased bool) ([]queue.Delivery, error) {
	if anyTried {
		err := q.loadDeliveryCounts(ctx, run)
		if err != nil {
			return nil, err
		}
		if run, err = q.holdBackSuspects(ctx, run, nothingLeased); err != nil {
			return nil, err
		}
	} else if len(run) > 0 {
		q.isolating.Store(false)
	}
	var ds []queue.Delivery
	for tasks := range slices.Chunk(run, q.opt.Group) {
		ds = append(ds, q.newDelivery(tasks))
	}
	return ds, nil
}

// readEvent sets the event of a task.
func (q *Queue) readEvent(t *UnackedTask, now time.Time) error {
	arg, ok := t.Argument(0, "data")
	if !ok {
		return fmt.Errorf("%s() missing 1 required positional argument: 'data': %w", t.Name, picket.ErrInvalid)
	}
	var n picketHeader
	if h := t.Headers[picketHeaderName]; h != nil && json.Unmarshal(h, &n) == nil && n.ID != "" && n.Size > 1 && n.Size <= len(arg) {
		t.foreign = false
		raw := append(slices.Clone(arg[:n.Size-1]), '}')
		t.event = picket.Event{ID: n.ID, Sender: n.Sender, Index: n.Index, AgentID: n.Agent, Host: n.Host, Type: n.Type, OS: n.OS,
			Time: time.UnixMicro(n.Time).UTC(), Received: time.UnixMicro(n.Received).UTC(), Raw: raw}
		t.queued = time.UnixMicro(n.Queued)
		return nil
	}
	raw, err := celery.NormalizeJSON(nil, bytes.TrimSpace(arg))
	if err != nil {
		return fmt.Errorf("argument 'data': %w: %w", err, picket.ErrInvalid)
	}
	if q.opt.Event == nil {
		return fmt.Errorf("tasks of others are not taken here: %w", picket.ErrInvalid)
	}
	t.event, err = q.opt.Event(raw, t.ID, now.UTC().Truncate(time.Microsecond))
	return err
}
