package redisqueue

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/picket-edr/picket/internal/groupcommit"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// maxPipelinesInFlight is how many pipelines a pipeliner sends at the same time.
const maxPipelinesInFlight = 2

// A pipeliner sends the commands of its shards in common pipelines. A single
// server needs one for all shards. In a Cluster, each shard has its own, because
// shards can be on any node and move.
type pipeliner struct {
	q        *Queue
	shards   []*shard
	ops      groupcommit.Queue[*op]
	wake     chan struct{} // capacity 1; tells fetch that a receiver waits
	checkDue atomic.Bool   // tells fetch that a message was returned
}

func newPipeliner(q *Queue, shards []*shard) *pipeliner {
	return &pipeliner{
		q: q, shards: shards, wake: make(chan struct{}, 1),
		ops: groupcommit.Queue[*op]{MaxOps: 1024, MaxBytes: 4 << 20, C: make(chan *op, 1024), Closed: q.stop, Ended: q.stop, ErrClosed: redisstats.ErrQueueClosed},
	}
}

// An op is one caller's part of a pipeline: the arguments of an enqueue, which
// shares one call with others of its shard, or a call of its own.
type op struct {
	*groupcommit.Op // set by do
	shard           *shard
	size            int // payload bytes
	request         []any
	call            *call
}

// do sends o in one pipeline with other waiting operations and returns its
// error. If ctx ends before that, o is not sent.
func (q *Queue) do(ctx context.Context, o *op) error {
	o.Op = groupcommit.NewOp(o.size)
	return q.pipelinerOf(o.shard).ops.Do(ctx, o)
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
		case o := <-p.ops.C:
			p.commit(p.ops.Gather(nil, o))
		case <-p.q.stop:
			return
		}
	}
}

// commit sends a group of operations and reports their outcome. The enqueues of a
// shard become one call.
func (p *pipeliner) commit(group []*op) {
	group = slices.DeleteFunc(group, func(o *op) bool { return !o.Claim() })
	if len(group) == 0 {
		return
	}
	q := p.q
	ctx := context.Background()
	requests := make(map[*shard]*call)
	noResend := make(map[*shard][]string)
	var calls, others []*call
	for _, o := range group {
		if o.request == nil {
			others = append(others, o.call)
			continue
		}
		c := requests[o.shard]
		if c == nil {
			s := o.shard
			c, noResend[s] = q.newEnqueueCall(s)
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
		synced = q.runCalls(ctx, append(calls, others...), q.waitAOF)
	} else {
		q.runCalls(ctx, others, false)
	}
	for s, c := range requests {
		if c.cmd.Err() != nil {
			s.addNoResendIDs(noResend[s]...)
		}
	}
	for _, o := range group {
		err := redisstats.WrapError(o.call.cmd.Err())
		if err == nil && o.request != nil && synced != nil && q.waitAOF {
			err = synced
		}
		o.Finish(err)
	}
}

// newEnqueueCall returns a call that enqueues in a shard, without its requests, and
// the IDs that it confirms. If it fails, they must be added again.
func (q *Queue) newEnqueueCall(s *shard) (c *call, noResendIDs []string) {
	ids, args := s.takeNoResendIDs()
	return &call{
		script: enqueueScript, keys: []string{s.in, s.counts, s.rate, s.dead, s.batches},
		args: append([]any{s.n, q.opt.MaxBytes / rejectedBytesDivisor / int64(len(q.shards))}, args...),
	}, ids
}
