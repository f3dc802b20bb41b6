package redisqueue

import (
	"context"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/redisurl"
)

// lease is a message that this queue leased and has not done with.
type lease struct {
	entry      entry
	size       int // bytes of its payload
	deliveries int // so far: who has another number has lost it
}

// findLease returns what is held by a token; false where nothing is any more.
func (q *Queue) findLease(token int64) (lease, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.leases[token]
	if h == nil {
		return lease{}, false
	}
	return *h, true
}

// dropLeases drops tokens: their leases are not renewed any more.
func (q *Queue) dropLeases(tokens ...int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range tokens {
		if h := q.leases[t]; h != nil {
			delete(q.byEntry, h.entry)
			delete(q.leases, t)
		}
	}
	if len(q.leases) == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// maintain renews leases, and gives back what was fetched for receivers that have
// left, until the queue is closed.
func (q *Queue) maintain() {
	renewal := time.NewTicker(q.opt.Lease / 3)
	defer renewal.Stop()
	surplus := time.NewTicker(time.Second)
	defer surplus.Stop()
	down := false
	for {
		select {
		case <-q.stop:
			return
		case <-renewal.C:
			err := q.renew()
			if (err != nil) != down {
				if down = err != nil; down {
					q.log.Warn("leases not renewed; trying again", "error", err)
				} else {
					q.log.Info("leases renewed again")
				}
			}
		case <-surplus.C:
			q.returnPrefetched(time.Second)
		}
	}
}

// renew renews the leases of all that is held. What another has taken over
// meanwhile is left to its receiver here, whose Ack removes it all the same.
func (q *Queue) renew() error {
	ctx, cancel := context.WithTimeout(context.Background(), redisurl.CommandTimeout)
	defer cancel()
	calls := make(map[int]*call)
	var all []*call
	q.mu.Lock()
	for _, h := range q.leases {
		c := calls[h.entry.shard]
		if c == nil {
			c = &call{script: renewScript, keys: []string{q.shards[h.entry.shard].in}, args: []any{q.consumer}}
			calls[h.entry.shard] = c
			all = append(all, c)
		}
		c.args = append(c.args, h.entry.id)
	}
	q.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	return q.run(ctx, all, false)
}

// returnPrefetched returns what lies in the buffer, if no one has asked for it for so
// long.
func (q *Queue) returnPrefetched(idle time.Duration) {
	q.mu.Lock()
	var surplus []queue.Delivery
	if len(q.prefetched) > 0 && time.Since(q.idleSince) > idle {
		surplus, q.prefetched = q.prefetched, nil
	}
	q.mu.Unlock()
	if len(surplus) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisurl.CommandTimeout)
	defer cancel()
	calls := make(map[int]*call)
	var all []*call
	var tokens []int64
	for _, d := range surplus {
		h, ok := q.findLease(d.Receipt)
		if !ok {
			continue
		}
		tokens = append(tokens, d.Receipt)
		c := calls[h.entry.shard]
		if c == nil {
			s := q.shards[h.entry.shard]
			c = &call{script: retryScript, keys: []string{s.in, s.due}, args: []any{q.consumer, 0, 1}}
			calls[h.entry.shard] = c
			all = append(all, c)
		}
		c.args = append(c.args, h.entry.id, h.deliveries)
	}
	if err := q.run(ctx, all, false); err != nil {
		q.log.Warn("messages come again when their leases end", "messages", len(tokens), "error", err)
	}
	q.dropLeases(tokens...)
}
