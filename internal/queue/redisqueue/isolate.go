package redisqueue

import (
	"context"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// isolate delivers the messages of the lane that may have killed their
// receivers: one at a time, while this queue has leased nothing else.
func (f *fetcher) isolate(ctx context.Context) error {
	q := f.lane.q
	q.reads.Lock()
	defer q.reads.Unlock()
	for q.wanted() > 0 && q.closed() == nil {
		q.giveBack(0)
		q.waitEmpty()
		ms, err := f.takeSuspect(ctx)
		q.deliver(ms)
		if err != nil || len(ms) == 0 {
			return err
		}
		q.waitEmpty()
	}
	return nil
}

// takeSuspect leases one message, if there is one, that is to be delivered
// alone.
func (f *fetcher) takeSuspect(ctx context.Context) ([]leased, error) {
	f.suspects = false
	for _, s := range f.lane.shards {
		ms, err := f.takeDue(ctx, []*shard{s}, 1, true)
		if err != nil || len(ms) > 0 {
			f.suspects = true // there may be more
			return ms, err
		}
	}
	return nil, nil
}

// waitEmpty waits until this queue has leased nothing, for
// queue.IsolationTimeout at most.
func (q *Queue) waitEmpty() {
	q.mu.Lock()
	if len(q.held) == 0 {
		q.mu.Unlock()
		return
	}
	empty := make(chan struct{})
	q.empty = empty
	q.mu.Unlock()
	timeout := time.NewTimer(queue.IsolationTimeout)
	defer timeout.Stop()
	select {
	case <-empty:
	case <-timeout.C:
	case <-q.stop:
	}
}
