package redisqueue

import (
	"context"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// isolate delivers the suspects of the pipeliner's shards, one at a time, while
// this queue has leased nothing else.
func (f *fetcher) isolate(ctx context.Context) error {
	q := f.pipeliner.q
	q.readLock.Lock()
	defer q.readLock.Unlock()
	for q.countWanted() > 0 && q.checkOpen() == nil {
		q.returnPrefetched(0)
		q.waitIdleForIsolation()
		ms, err := f.leaseSuspect(ctx)
		q.deliver(ms)
		if err != nil || len(ms) == 0 {
			return err
		}
		q.waitIdleForIsolation()
	}
	return nil
}

// leaseSuspect leases one suspect if there is one: a message that may have killed
// its receivers.
func (f *fetcher) leaseSuspect(ctx context.Context) ([]fetchedMessage, error) {
	f.suspects = false
	for _, s := range f.pipeliner.shards {
		ms, err := f.leaseDue(ctx, []*shard{s}, 1, true)
		if err != nil || len(ms) > 0 {
			f.suspects = true // there may be more
			return ms, err
		}
	}
	return nil, nil
}

// waitIdleForIsolation waits until this queue has no leases, for queue.MaxIsolationWait at
// most.
func (q *Queue) waitIdleForIsolation() {
	q.mu.Lock()
	if len(q.leases) == 0 {
		q.mu.Unlock()
		return
	}
	empty := make(chan struct{})
	q.idle = empty
	q.mu.Unlock()
	timeout := time.NewTimer(queue.MaxIsolationWait)
	defer timeout.Stop()
	select {
	case <-empty:
	case <-timeout.C:
	case <-q.stop:
	}
}
