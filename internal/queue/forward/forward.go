// Package forward puts a spool on the local disk in front of a queue on other
// machines: while that queue is away, intake goes on.
//
// Promise: when Enqueue returns nil the batch is durable in the one or the
// other. What was spooled is forwarded by itself when the queue is back, in
// order for each agent: as long as anything is spooled, new batches go through
// the spool too. A queue that is full is not away: its senders wait.
package forward

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// A Spool is a durable and bounded queue of this machine.
type Spool interface {
	queue.Queue
	Stats(ctx context.Context) (queue.Stats, error)
}

// A Queue is a queue with a spool in front of it. It is the next queue in all
// but Enqueue, Stats and Close.
type Queue struct {
	queue.Queue
	queue.Inspector
	next  Next
	spool Spool
	log   *slog.Logger

	gate    gate
	spooled atomic.Int64 // messages in the spool, or on their way into it
	away    atomic.Bool  // that the next queue is away was logged

	stop      context.CancelFunc
	running   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Next is the queue behind the spool. EnqueueAll does all that is asked, which
// is of one Agent, in order and in one step, or nothing.
type Next interface {
	queue.Queue
	queue.Inspector
	EnqueueAll(ctx context.Context, rs ...queue.Request) error
}

// New puts spool in front of next, and begins to forward what it holds. Both
// belong to the Queue, whose Close closes them. A nil log is slog.Default.
func New(next Next, spool Spool, log *slog.Logger) (*Queue, error) {
	s, err := spool.Stats(context.Background())
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{Queue: next, Inspector: next, next: next, spool: spool, log: cmp.Or(log, slog.Default()), stop: stop}
	q.spooled.Store(s.Pending + s.Leased)
	if n := s.Pending + s.Leased; n > 0 {
		q.away.Store(true)
		q.log.Info("batches of an earlier run are forwarded", "batches", n)
	}
	q.running.Go(func() { q.forward(ctx) })
	return q, nil
}

// Enqueue implements queue.Queue.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.Letter) error {
	if through, err := q.pass(ctx); err != nil {
		return fmt.Errorf("spool batch %s: %w", m.ID, err)
	} else if through {
		err := q.Queue.Enqueue(ctx, m, rejected...)
		if !errors.Is(err, picket.ErrUnavailable) || errors.Is(err, queue.ErrFull) {
			return err
		}
		q.gate.set(false, 0)
		if !q.away.Swap(true) {
			q.log.Warn("queue away; batches are kept on this machine's disk until it is back", "error", err)
		}
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(queue.Request{Message: m, Rejected: rejected}); err != nil {
		return fmt.Errorf("spool batch %s: %w", m.ID, err)
	}
	// Counted first: who enqueues for the same agent after this must not pass it.
	q.spooled.Add(1)
	// Without events nothing would be kept.
	if err := q.spool.Enqueue(ctx, queue.Message{ID: m.ID, Events: max(m.Events, 1), Payload: b.Bytes(), Agent: m.Agent}); err != nil {
		q.spooled.Add(-1)
		q.gate.set(false, 0) // who waits for the spool to be empty looks again
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Stats implements queue.Inspector; what is spooled has been accepted and
// waits.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	s, err := q.Inspector.Stats(ctx)
	if err != nil || q.spooled.Load() == 0 {
		return s, err
	}
	sp, err := q.spool.Stats(ctx)
	if err != nil {
		return s, err
	}
	s.Pending += sp.Pending + sp.Leased
	s.PendingEvents += sp.PendingEvents + sp.LeasedEvents
	s.Accepted += sp.PendingEvents + sp.LeasedEvents
	s.Bytes += sp.Bytes
	s.OldestAge = max(s.OldestAge, sp.OldestAge)
	return s, nil
}

// Next is the queue behind the spool.
func (q *Queue) Next() Next { return q.next }

// Spooled is how many batches wait on this machine.
func (q *Queue) Spooled() int64 { return q.spooled.Load() }

// Close closes spool and queue. What is spooled is forwarded by the next that
// opens the spool.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		q.stop()
		q.gate.set(false, 0)
		q.running.Wait()
		q.closeErr = errors.Join(q.spool.Close(), q.Queue.Close())
	})
	return q.closeErr
}
