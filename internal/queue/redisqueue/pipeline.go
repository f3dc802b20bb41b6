package redisqueue

import (
	"context"
	"runtime"
	"sync/atomic"

	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// Bounds of one pipeline, and how many may be under way in a lane.
const (
	maxGroupOps   = 1024
	maxGroupBytes = 4 << 20
	maxInFlight   = 2
)

// A pipeliner is the shards whose commands travel together: all of them on a
// single server; in a Cluster, where they may be anywhere and move, each has
// a lane of its own.
type pipeliner struct {
	q        *Queue
	shards   []*shard
	ops      chan *op
	wake     chan struct{} // of one; tells fetch that somebody waits
	checkDue atomic.Bool   // a message was given back: fetch looks at once
}

func newPipeliner(q *Queue, shards []*shard) *pipeliner {
	return &pipeliner{q: q, shards: shards, ops: make(chan *op, maxGroupOps), wake: make(chan struct{}, 1)}
}

// An op is one caller's part of a pipeline: a request to enqueue, which goes
// out in one call with others of its shard, or a call of its own.
type op struct {
	shard   *shard
	size    int // bytes, which bound a group
	request []any
	call    *call
	done    chan error // of one
	state   atomic.Int32
}

const (
	opWaiting   = iota
	opTaken     // a writer has it: the caller waits for the outcome
	opWithdrawn // the caller is gone
)

// do sends o with whatever else is waiting, and returns when it is answered.
// When ctx ends before a writer got to it, it is not sent.
func (q *Queue) do(ctx context.Context, o *op) error {
	o.done = make(chan error, 1)
	l := q.pipelinerOf(o.shard)
	select {
	case <-q.stop:
		return redisstats.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case l.ops <- o:
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		if o.state.CompareAndSwap(opWaiting, opWithdrawn) {
			return ctx.Err()
		}
	case <-q.stop:
		// The writers send what waits before they go, but for what came after.
		if o.state.CompareAndSwap(opWaiting, opWithdrawn) {
			return redisstats.ErrClosed
		}
	}
	return <-o.done
}

func (q *Queue) pipelinerOf(s *shard) *pipeliner {
	if len(q.pipeliners) == 1 {
		return q.pipeliners[0]
	}
	return q.pipeliners[s.n]
}

// run sends what waits, until the queue is closed.
func (l *pipeliner) run() {
	for {
		select {
		case o := <-l.ops:
			l.commit(l.gather(o))
		case <-l.q.stop:
			return
		}
	}
}

// gather adds to first what else waits. Callers that the last answer woke
// need a moment to come back; yielding lets them.
func (l *pipeliner) gather(first *op) []*op {
	var group []*op
	size := 0
	add := func(o *op) {
		if o.state.CompareAndSwap(opWaiting, opTaken) {
			size += o.size
			group = append(group, o)
		}
	}
	add(first)
	for range 2 {
		runtime.Gosched()
		for size < maxGroupBytes && len(group) < maxGroupOps {
			select {
			case o := <-l.ops:
				add(o)
				continue
			default:
			}
			break
		}
	}
	return group
}

// commit sends a group: a call for the requests of each shard, and the other
// calls as they are.
func (l *pipeliner) commit(group []*op) {
	if len(group) == 0 {
		return
	}
	q := l.q
	ctx := context.Background()
	requests := make(map[*shard]*call)
	settled := make(map[*shard][]string)
	var calls, others []*call
	for _, o := range group {
		if o.request == nil {
			others = append(others, o.call)
			continue
		}
		c := requests[o.shard]
		if c == nil {
			s := o.shard
			c, settled[s] = q.enqueueCall(s)
			requests[s] = c
			calls = append(calls, c)
		}
		c.args = append(c.args, o.request...)
		o.call = c
	}
	// Only what was accepted waits for the disk: losing the rest repeats work.
	var synced error
	if len(calls) > 0 {
		synced = q.run(ctx, append(calls, others...), q.waitAOF)
	} else {
		q.run(ctx, others, false)
	}
	for s, c := range requests {
		if c.cmd.Err() != nil {
			s.confirm(settled[s]...)
		}
	}
	for _, o := range group {
		err := redisstats.WrapError(o.call.cmd.Err())
		if err == nil && o.request != nil && synced != nil && q.waitAOF {
			err = synced
		}
		o.done <- err
	}
}

// enqueueCall begins a call that enqueues in a shard, with what has been
// settled there, which is to be settled again if the call fails.
func (q *Queue) enqueueCall(s *shard) (*call, []string) {
	ids, args := s.takeConfirmed()
	return &call{
		script: enqueueScript, keys: []string{s.in, s.counts, s.rate, s.dead, s.batches},
		args: append([]any{s.n, q.opt.MaxBytes / rejectedShare / int64(len(q.shards))}, args...),
	}, ids
}
