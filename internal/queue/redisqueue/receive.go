package redisqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// maxReceiveBytes bounds the payload bytes of one Receive and, approximately, those of
// one fetch, so that a backlog of large batches cannot exhaust memory.
const maxReceiveBytes = 8 << 20

// A waiter is a Receive that waits for messages.
type waiter struct {
	max int
	got chan receiveResult // capacity 1
}

type receiveResult struct {
	ds  []queue.Delivery
	err error
}

// Receive implements queue.Queue. While Redis is unreachable it returns an error
// soon, and the next call tries to reconnect.
//
// Messages are leased by goroutines, so that a message that arrives just after a
// receiver's context ended goes to another one.
func (q *Queue) Receive(ctx context.Context, max int) ([]queue.Delivery, error) {
	ds, err := q.receive(ctx, max)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return ds, nil
}

func (q *Queue) receive(ctx context.Context, limit int) ([]queue.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := q.connect(ctx); err != nil {
		return nil, err
	}
	w := &waiter{max: max(limit, 1), got: make(chan receiveResult, 1)}
	q.mu.Lock()
	q.waiters = append(q.waiters, w)
	q.deliverPrefetched()
	q.mu.Unlock()
	q.wakeFetchLoops()
	select {
	case r := <-w.got:
		return r.ds, r.err
	case <-ctx.Done():
	case <-q.stop:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiters = slices.DeleteFunc(q.waiters, func(o *waiter) bool { return o == w })
	select {
	case r := <-w.got: // delivered just before
		return r.ds, r.err
	default:
	}
	if err := q.checkOpen(); err != nil {
		return nil, err
	}
	return nil, ctx.Err()
}

// deliverPrefetched delivers prefetched messages to waiters. Its caller holds mu.
func (q *Queue) deliverPrefetched() {
	for len(q.waiters) > 0 && len(q.prefetched) > 0 {
		w := q.waiters[0]
		q.waiters = q.waiters[1:]
		n, size := 0, 0
		for n < min(w.max, len(q.prefetched)) {
			if size += len(q.prefetched[n].Payload); n > 0 && size > maxReceiveBytes {
				break
			}
			n++
		}
		w.got <- receiveResult{ds: slices.Clone(q.prefetched[:n])}
		q.prefetched = slices.Delete(q.prefetched, 0, n)
	}
	q.idleSince = time.Now()
}

// failWaiters returns err from all Receives that are waiting.
func (q *Queue) failWaiters(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiters {
		w.got <- receiveResult{err: err}
	}
	q.waiters = nil
}

// countWanted returns how many messages the waiters ask for beyond those prefetched.
func (q *Queue) countWanted() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := -len(q.prefetched)
	for _, w := range q.waiters {
		n += w.max
	}
	return n
}

func (q *Queue) wakeFetchLoops() {
	for _, l := range q.pipeliners {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// deliver adds fetched messages to prefetched and serves waiters. A message that
// this queue leased before and renewed too late stays with its receiver.
func (q *Queue) deliver(ms []fetchedMessage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range ms {
		if receipt, ok := q.byEntry[m.entry]; ok {
			q.leases[receipt].deliveries = m.delivery.Attempt
			continue
		}
		q.lastReceipt++
		m.delivery.Receipt = q.lastReceipt
		q.leases[q.lastReceipt] = &lease{entry: m.entry, size: len(m.delivery.Payload), deliveries: m.delivery.Attempt}
		q.byEntry[m.entry] = q.lastReceipt
		q.prefetched = append(q.prefetched, m.delivery)
	}
	q.deliverPrefetched()
}
