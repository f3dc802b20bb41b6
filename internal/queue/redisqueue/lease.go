package redisqueue

import (
	"context"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/redisurl"
)

// A lease is a message that this queue has leased.
type lease struct {
	entry      entryID
	size       int // bytes of its payload
	deliveries int // so far; a different number on the server means that the lease was lost
}

// findLease returns the lease with a receipt, or false if it has ended.
func (q *Queue) findLease(receipt int64) (found lease, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.leases[receipt]
	if l == nil {
		return lease{}, false
	}
	return *l, true
}

// dropLeases removes leases, which are then no longer renewed.
func (q *Queue) dropLeases(receipts ...int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range receipts {
		if l := q.leases[r]; l != nil {
			delete(q.byEntry, l.entry)
			delete(q.leases, r)
		}
	}
	if len(q.leases) == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// renewAndReturnPrefetched renews leases, and returns messages that were prefetched for receivers
// that no longer wait, until the queue is closed.
func (q *Queue) renewAndReturnPrefetched() {
	renewal := time.NewTicker(q.opt.Lease / 3)
	defer renewal.Stop()
	unread := time.NewTicker(time.Second)
	defer unread.Stop()
	down := false
	for {
		select {
		case <-q.stop:
			return
		case <-renewal.C:
			err := q.renew()
			if (err != nil) != down {
				if down = err != nil; down {
					q.log.Warn("renewing leases failed; retrying", "error", err)
				} else {
					q.log.Info("leases renewed again")
				}
			}
		case <-unread.C:
			q.returnPrefetched(time.Second)
		}
	}
}

// renew renews all leases. A message that another consumer took over stays with
// its receiver here, because Ack works nevertheless.
func (q *Queue) renew() error {
	ctx, cancel := context.WithTimeout(context.Background(), redisurl.CommandTimeout)
	defer cancel()
	calls := make(map[int]*call)
	var all []*call
	q.mu.Lock()
	for _, l := range q.leases {
		c := calls[l.entry.shard]
		if c == nil {
			c = &call{script: renewScript, keys: []string{q.shards[l.entry.shard].in}, args: []any{q.consumer}}
			calls[l.entry.shard] = c
			all = append(all, c)
		}
		c.args = append(c.args, l.entry.id)
	}
	q.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	return q.runCalls(ctx, all, false)
}

// returnPrefetched returns the prefetched messages to the queue if no receiver has
// waited for minIdle.
func (q *Queue) returnPrefetched(minIdle time.Duration) {
	q.mu.Lock()
	var unread []queue.Delivery
	if len(q.prefetched) > 0 && time.Since(q.idleSince) > minIdle {
		unread, q.prefetched = q.prefetched, nil
	}
	q.mu.Unlock()
	if len(unread) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisurl.CommandTimeout)
	defer cancel()
	calls := make(map[int]*call)
	var all []*call
	var receipts []int64
	for _, d := range unread {
		l, ok := q.findLease(d.Receipt)
		if !ok {
			continue
		}
		receipts = append(receipts, d.Receipt)
		c := calls[l.entry.shard]
		if c == nil {
			s := q.shards[l.entry.shard]
			c = &call{script: retryScript, keys: []string{s.in, s.due}, args: []any{q.consumer, 0, 1}}
			calls[l.entry.shard] = c
			all = append(all, c)
		}
		c.args = append(c.args, l.entry.id, l.deliveries)
	}
	if err := q.runCalls(ctx, all, false); err != nil {
		q.log.Warn("could not release messages; they will be redelivered when their leases expire", "messages", len(receipts), "error", err)
	}
	q.dropLeases(receipts...)
}
