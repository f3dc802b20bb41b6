package redisqueue

import (
	"context"
	"runtime"
	"sync/atomic"

	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// Limits of one pipeline, and of the pipelines in flight.
const (
	maxGroupOps   = 1024
	maxGroupBytes = 4 << 20
	maxInFlight   = 2
)

// A pipeliner sends the commands of its shards in common pipelines. A single
// server needs one for all shards. In a Cluster, each shard has its own, because
// shards can be on any node and move.
type pipeliner struct {
	q        *Queue
	shards   []*shard
	ops      chan *op
	wake     chan struct{} // capacity 1; tells fetch that a receiver waits
	checkDue atomic.Bool   // tells fetch that a message was returned
}

func newPipeliner(q *Queue, shards []*shard) *pipeliner {
	return &pipeliner{q: q, shards: shards, ops: make(chan *op, maxGroupOps), wake: make(chan struct{}, 1)}
}

// An op is one caller's part of a pipeline: the arguments of an enqueue, which
// shares one call with others of its shard, or a call of its own.
type op struct {
	shard   *shard
	size    int // payload bytes, which bound a group
	request []any
	call    *call
	done    chan error // capacity 1
	state   atomic.Int32
}

const (
	opWaiting   = iota
	opClaimed   // by run; the caller waits for the outcome
	opWithdrawn // by the caller, whose context ended
)

// do sends o in one pipeline with other waiting operations and returns its
// error. If ctx ends before that, o is not sent.
func (q *Queue) do(ctx context.Context, o *op) error {
	o.done = make(chan error, 1)
	p := q.pipelinerOf(o.shard)
	select {
	case <-q.stop:
		return redisstats.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case p.ops <- o:
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		if o.state.CompareAndSwap(opWaiting, opWithdrawn) {
			return ctx.Err()
		}
	case <-q.stop:
		// It may have been submitted after run ended.
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

// run sends waiting operations until the queue is closed.
func (p *pipeliner) run() {
	for {
		select {
		case o := <-p.ops:
			p.commit(p.gather(o))
		case <-p.q.stop:
			return
		}
	}
}

// gather returns first and the other operations that are waiting. It yields, so
// that callers woken by the last reply can submit their next operation.
func (p *pipeliner) gather(first *op) []*op {
	var group []*op
	size := 0
	add := func(o *op) {
		if o.state.CompareAndSwap(opWaiting, opClaimed) {
			size += o.size
			group = append(group, o)
		}
	}
	add(first)
	for range 2 {
		runtime.Gosched()
		for size < maxGroupBytes && len(group) < maxGroupOps {
			select {
			case o := <-p.ops:
				add(o)
				continue
			default:
			}
			break
		}
	}
	return group
}

// commit sends a group of operations and reports their outcome. The enqueues of a
// shard become one call.
func (p *pipeliner) commit(group []*op) {
	if len(group) == 0 {
		return
	}
	q := p.q
	ctx := context.Background()
	requests := make(map[*shard]*call)
	confirmed := make(map[*shard][]string)
	var calls, others []*call
	for _, o := range group {
		if o.request == nil {
			others = append(others, o.call)
			continue
		}
		c := requests[o.shard]
		if c == nil {
			s := o.shard
			c, confirmed[s] = q.enqueueCall(s)
			requests[s] = c
			calls = append(calls, c)
		}
		c.args = append(c.args, o.request...)
		o.call = c
	}
	// Only enqueues wait for fsync: if an Ack is lost, work is repeated, but no
	// batch is lost.
	var synced error
	if len(calls) > 0 {
		synced = q.run(ctx, append(calls, others...), q.waitAOF)
	} else {
		q.run(ctx, others, false)
	}
	for s, c := range requests {
		if c.cmd.Err() != nil {
			s.confirm(confirmed[s]...)
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

// enqueueCall returns a call that enqueues in a shard, without its requests, and
// the IDs that it confirms. If it fails, they must be confirmed again.
func (q *Queue) enqueueCall(s *shard) (*call, []string) {
	ids, args := s.takeConfirmed()
	return &call{
		script: enqueueScript, keys: []string{s.in, s.counts, s.rate, s.dead, s.batches},
		args: append([]any{s.n, q.opt.MaxBytes / rejectedShare / int64(len(q.shards))}, args...),
	}, ids
}
