// Package diskbuffer puts a buffer on the local disk in front of a remote
// queue, so that intake goes on while that queue is unreachable.
//
// Once Enqueue returns nil, the batch is durable in the buffer or in the next
// queue. Buffered batches are forwarded as soon as the next queue is reachable
// again, in order for each agent: until the buffer is empty, new batches go
// through it too. A full queue does not count as unreachable: its senders wait.
package diskbuffer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// A Buffer is a durable and bounded queue on this machine.
type Buffer interface {
	queue.Queue
	Stats(ctx context.Context) (queue.Stats, error)
	// CheckWritable returns why Enqueue would refuse any batch, nil if it would not.
	CheckWritable() error
}

// NextQueue is the queue behind the buffer.
type NextQueue interface {
	queue.Queue
	queue.Inspector
	// EnqueueAll enqueues requests of one agent, in order and in one step: all
	// or none.
	EnqueueAll(ctx context.Context, rs ...queue.EnqueueRequest) error
}

// A Deduplicator remembers the IDs of the batches it received, to recognize
// duplicates, until the sender confirms that it will not send them again.
type Deduplicator interface {
	ConfirmNoResend(agent string, batchIDs ...string)
}

// Options configure a Queue. The zero value is ready to use.
type Options struct {
	Deduplicator Deduplicator // the next queue, if it is one; nil: no confirmations
	Logger       *slog.Logger // nil means slog.Default
}

// A Queue is the next queue with a buffer in front of it. Only Enqueue, Stats
// and Close differ from the next queue's.
type Queue struct {
	queue.Queue
	queue.Inspector
	next   NextQueue
	buffer Buffer
	opt    Options
	log    *slog.Logger

	admission drainThrottle
	buffered  atomic.Int64 // messages in the buffer or about to enter it
	degraded  atomic.Bool  // a warning was logged that the next queue is unreachable
	full      atomic.Bool  // the buffer refused a batch, and nothing was forwarded since

	stop      context.CancelFunc
	running   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// New puts buffer in front of next and starts to forward what buffer holds.
// The Queue owns both: its Close closes them.
func New(next NextQueue, buffer Buffer, o Options) (*Queue, error) {
	s, err := buffer.Stats(context.Background())
	if err != nil {
		return nil, fmt.Errorf("open disk buffer: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{Queue: next, Inspector: next, next: next, buffer: buffer, opt: o, log: cmp.Or(o.Logger, slog.Default()), stop: stop}
	if n := s.Pending + s.Leased; n > 0 {
		q.buffered.Store(n)
		q.degraded.Store(true)
		q.log.Info("forwarding batches buffered by an earlier run", "batches", n)
	}
	q.running.Go(func() { q.forwardLoop(ctx) })
	return q, nil
}

// Enqueue implements queue.Queue.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	direct, err := q.waitForAdmission(ctx)
	if err != nil {
		return fmt.Errorf("enqueue batch %s: disk buffer: %w", m.ID, err)
	}
	if direct {
		err := q.Queue.Enqueue(ctx, m, rejected...)
		if err == nil {
			q.endDegradedIfDrained()
		}
		if !errors.Is(err, picket.ErrUnavailable) || errors.Is(err, queue.ErrFull) {
			return err
		}
		q.admission.set(false, 0)
		if !q.degraded.Swap(true) {
			q.log.Warn("queue unreachable; buffering batches on the local disk", "error", err)
		}
	}
	record := appendEnqueueRequest(nil, &queue.EnqueueRequest{Message: m, Rejected: rejected})
	// Counted first: a later batch of the same agent must not overtake this one.
	q.buffered.Add(1)
	// A buffer drops messages without events, and this one may have rejected ones.
	if err := q.buffer.Enqueue(ctx, queue.Message{ID: m.ID, Events: max(m.Events, 1), Payload: record, Agent: m.Agent}); err != nil {
		q.buffered.Add(-1)
		q.admission.set(false, 0) // the buffer may be empty again
		if errors.Is(err, queue.ErrFull) && !errors.Is(err, queue.ErrDiskFull) && !q.full.Swap(true) {
			q.log.Error("disk buffer full; batches are refused", "error", err)
		}
		return fmt.Errorf("disk buffer: %w", err)
	}
	return nil
}

// Stats implements queue.Inspector. Buffered batches count as accepted and
// pending.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	s, err := q.Inspector.Stats(ctx)
	if err != nil || q.buffered.Load() == 0 {
		return s, err
	}
	b, err := q.buffer.Stats(ctx)
	if err != nil {
		return s, err
	}
	s.Pending += b.Pending + b.Leased
	s.PendingEvents += b.PendingEvents + b.LeasedEvents
	s.Accepted += b.PendingEvents + b.LeasedEvents
	s.Bytes += b.Bytes
	s.OldestAge = max(s.OldestAge, b.OldestAge)
	return s, nil
}

// Buffered returns the number of batches in the buffer.
func (q *Queue) Buffered() int64 { return q.buffered.Load() }

// BufferStats returns the state of the buffer alone.
func (q *Queue) BufferStats(ctx context.Context) (queue.Stats, error) { return q.buffer.Stats(ctx) }

// Degraded reports whether batches go through the buffer because the next queue was
// unreachable.
func (q *Queue) Degraded() bool { return q.degraded.Load() }

// CheckWritable returns why Enqueue would refuse any batch, nil if it would not. While the
// next queue is reachable, the buffer needs no room.
func (q *Queue) CheckWritable(ctx context.Context) error {
	if q.degraded.Load() && q.buffered.Load() == 0 {
		// Nothing is being forwarded that would notice that the next queue is back.
		if _, err := q.Inspector.Stats(ctx); err == nil {
			q.endDegradedIfDrained()
		}
	}
	err := q.buffer.CheckWritable()
	switch {
	case errors.Is(err, queue.ErrDiskFull) && !q.degraded.Load():
		return nil
	case err == nil && q.full.Load():
		return queue.ErrFull
	}
	return err
}

// endDegradedIfDrained records that the next queue is reachable, if nothing is buffered.
func (q *Queue) endDegradedIfDrained() {
	if q.degraded.Load() && q.buffered.Load() == 0 && q.degraded.Swap(false) {
		q.log.Info("queue reachable again; all buffered batches forwarded")
	}
}

// recordForwarded records that batches were forwarded, which makes room in the buffer.
func (q *Queue) recordForwarded(batches int) {
	q.buffered.Add(-int64(batches))
	if q.full.Load() && q.full.Swap(false) {
		q.log.Error("disk buffer has room again; batches are accepted")
	}
}

// Close closes the buffer and the next queue. What is still buffered is
// forwarded after the buffer is opened again.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		q.stop()
		q.admission.set(false, 0)
		q.running.Wait()
		q.closeErr = errors.Join(q.buffer.Close(), q.Queue.Close())
	})
	return q.closeErr
}
