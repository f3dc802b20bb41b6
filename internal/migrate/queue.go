package migrate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/diskbuffer"
)

// A QueueMover moves what one queue holds into another: waiting messages, those whose
// leases or delays end meanwhile, dead letters, and the counters.
//
// A message is removed from the one queue after the other has it durably, and is left
// out if the other has it from an attempt that was interrupted. If a worker of the other
// queue has already processed it then, the store recognizes its batch.
type QueueMover struct {
	From, To queue.Movable
	// Buffer: From is a disk buffer, whose counters are none of events.
	Buffer bool
	// WithoutCounters leaves the counters of From as they are.
	WithoutCounters bool
	// Patient waits while To is unavailable or full, instead of returning an error.
	Patient bool
	// IdleTimeout ends the move when so long nothing could be received; 0: only when
	// From is empty.
	IdleTimeout time.Duration
	Log         *slog.Logger
	Progress    io.Writer // receives a line a second; nil: none

	mu       sync.Mutex // guards what follows
	moved    MovedCounts
	waiting  bool // for To, which was logged
	reported time.Time
}

// MovedCounts is what was moved.
type MovedCounts struct {
	Batches     int64 `json:"batches"`
	Events      int64 `json:"events"`
	DeadLetters int64 `json:"dead_letters"`
	// Left are messages that stay: tasks of other programs, on a Celery broker.
	Left int64 `json:"left"`
}

const (
	maxReceiveBatches     = 256
	maxDeadLettersPerRead = 100
	maxEnqueueBytes       = 1 << 20         // of one EnqueueAll, approximately
	emptyCheckInterval    = time.Second     // while nothing is received
	maxMoveRetryDelay     = 5 * time.Second // while To is unavailable
)

// Run moves everything until From is empty.
func (m *QueueMover) Run(ctx context.Context) (MovedCounts, error) {
	err := m.moveMessages(ctx)
	if err == nil {
		err = m.moveDeadLetters(ctx)
	}
	if err == nil && !m.Buffer && !m.WithoutCounters {
		err = m.moveCounters(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		return m.moved, fmt.Errorf("move queue: %w", err)
	}
	return m.moved, nil
}

func (m *QueueMover) moveMessages(ctx context.Context) error {
	for received := time.Now(); ; {
		s, err := m.From.Stats(ctx)
		if err != nil {
			return err
		}
		m.reportProgress()
		left := s.Pending + s.Leased
		if left > 0 && m.IdleTimeout > 0 && time.Since(received) > m.IdleTimeout {
			m.moved.Left = left
			return nil
		}
		if left == 0 {
			return nil
		}
		wait, cancel := context.WithTimeout(ctx, emptyCheckInterval)
		ds, err := m.From.Receive(wait, maxReceiveBatches)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			continue // others have leased the rest, or it is not due yet
		case err != nil:
			return err
		}
		if err := m.moveBatches(ctx, ds); err != nil {
			return err
		}
		received = time.Now()
	}
}

// agentBatches are the batches of one agent that are moved, in order.
type agentBatches struct {
	ds   []queue.Delivery
	reqs []queue.EnqueueRequest
}

// moveBatches moves deliveries: agents in parallel, the batches of each in order.
func (m *QueueMover) moveBatches(ctx context.Context, ds []queue.Delivery) error {
	agents := make(map[string]*agentBatches)
	for _, d := range ds {
		r := m.enqueueRequest(&d)
		a := agents[r.Message.Agent]
		if a == nil {
			a = new(agentBatches)
			agents[r.Message.Agent] = a
		}
		a.ds, a.reqs = append(a.ds, d), append(a.reqs, r)
	}
	errs := make(chan error, len(agents))
	for _, a := range agents {
		go func() { errs <- m.moveAgent(ctx, a) }()
	}
	var failed error
	for range agents {
		failed = cmp.Or(failed, <-errs)
	}
	return failed
}

// enqueueRequest returns what is to be enqueued for a delivery. What is no batch is
// moved too: a worker makes a dead letter of it.
func (m *QueueMover) enqueueRequest(d *queue.Delivery) queue.EnqueueRequest {
	if m.Buffer {
		if r, err := diskbuffer.DecodeEnqueueRequest(d.Payload); err == nil {
			return r
		}
	}
	r := queue.EnqueueRequest{Message: d.Message}
	r.Message.ID = movedID(d)
	if r.Message.Agent == "" { // which From need not keep
		if b, err := picket.DecodeBatch(d.Payload); err == nil && len(b.Events) > 0 {
			r.Message.Agent = b.Events[0].AgentID
		}
	}
	return r
}

var movedIDSuffix = regexp.MustCompile(`\.moved-[0-9a-f]{16}$`)

// movedID returns an ID for a message in another queue: the same whenever it is moved
// from From again, and another one than it has had there if it comes back.
func movedID(d *queue.Delivery) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q ", d.Enqueued.UnixMicro(), d.ID)
	h.Write(d.Payload)
	return fmt.Sprintf("%s.moved-%x", movedIDSuffix.ReplaceAllString(d.ID, ""), h.Sum(nil)[:8])
}

// moveAgent moves the batches of an agent. One that To will never accept becomes a dead
// letter there.
func (m *QueueMover) moveAgent(ctx context.Context, a *agentBatches) error {
	for len(a.ds) > 0 {
		n, size := 0, 0
		for n < len(a.reqs) && (n == 0 || size+len(a.reqs[n].Message.Payload) <= maxEnqueueBytes) {
			size += len(a.reqs[n].Message.Payload)
			n++
		}
		err := m.retry(ctx, func() error { return m.To.EnqueueAll(ctx, a.reqs[:n]...) })
		if errors.Is(err, picket.ErrInvalid) {
			n = 1
			err = m.retry(ctx, func() error { return m.moveOne(ctx, &a.reqs[0]) })
		}
		if err != nil {
			return err
		}
		// To has them: also when ctx has ended, they must not be moved again.
		if err := m.From.RemoveMoved(context.WithoutCancel(ctx), a.ds[:n]...); err != nil {
			return err
		}
		m.confirmNoResend(a.reqs[:n])
		m.countMovedBatches(a.reqs[:n])
		a.ds, a.reqs = a.ds[n:], a.reqs[n:]
	}
	return nil
}

func (m *QueueMover) moveOne(ctx context.Context, r *queue.EnqueueRequest) error {
	err := m.To.EnqueueAll(ctx, *r)
	if !errors.Is(err, picket.ErrInvalid) {
		return err
	}
	return m.To.AddDeadLetters(ctx, queue.DeadLetter{Reason: queue.Failed, Cause: err.Error(), AgentID: r.Message.Agent,
		Events: r.Message.Events, Time: time.Now(), Payload: r.Message.Payload})
}

// confirmNoResend tells To that the batches will not be sent again.
func (m *QueueMover) confirmNoResend(rs []queue.EnqueueRequest) {
	c, ok := m.To.(diskbuffer.Deduplicator)
	if !ok {
		return
	}
	for i := range rs {
		c.ConfirmNoResend(rs[i].Message.Agent, rs[i].Message.ID)
	}
}

func (m *QueueMover) countMovedBatches(rs []queue.EnqueueRequest) {
	m.mu.Lock()
	for i := range rs {
		m.moved.Batches++
		m.moved.Events += int64(rs[i].Message.Events)
	}
	m.mu.Unlock()
	m.reportProgress()
}

func (m *QueueMover) moveDeadLetters(ctx context.Context) error {
	for {
		ls, err := m.From.OldestDeadLetters(ctx, maxDeadLettersPerRead)
		if err != nil || len(ls) == 0 {
			return err
		}
		if m.Buffer {
			for i := range ls {
				if r, err := diskbuffer.DecodeEnqueueRequest(ls[i].Payload); err == nil {
					ls[i].Payload, ls[i].Events = r.Message.Payload, r.Message.Events
				}
			}
		}
		if err := m.retry(ctx, func() error { return m.To.AddDeadLetters(ctx, ls...) }); err != nil {
			return err
		}
		if err := m.From.RemoveMovedDeadLetters(context.WithoutCancel(ctx), ls...); err != nil {
			return err
		}
		m.mu.Lock()
		m.moved.DeadLetters += int64(len(ls))
		m.mu.Unlock()
		m.reportProgress()
	}
}

// moveCounters moves what From has counted of events that it no longer holds.
func (m *QueueMover) moveCounters(ctx context.Context) error {
	s, err := m.From.Stats(ctx)
	if err != nil {
		return err
	}
	c := s.Counters()
	// Stats that are left behind are those of events that are left.
	c.Accepted -= s.PendingEvents + s.LeasedEvents
	if c == (queue.Counters{}) || c.Accepted < 0 {
		return nil
	}
	if err := m.retry(ctx, func() error { return m.To.AddCounters(ctx, c) }); err != nil {
		return err
	}
	return m.From.AddCounters(context.WithoutCancel(ctx), c.Negated())
}

// retry calls f again while To is unavailable or full, if the move is patient.
func (m *QueueMover) retry(ctx context.Context, f func() error) error {
	policy := backoff.Policy{First: 50 * time.Millisecond, Max: maxMoveRetryDelay}
	for failures := 1; ; failures++ {
		err := f()
		if !m.Patient || !errors.Is(err, picket.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		m.mu.Lock()
		if !m.waiting {
			m.waiting = true
			m.Log.Warn("moving a queue waits for the other queue", "error", err)
		}
		m.mu.Unlock()
		policy.Wait(ctx, failures)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// reportProgress writes a line to Progress, at most once a second.
func (m *QueueMover) reportProgress() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Progress == nil || time.Since(m.reported) < time.Second {
		return
	}
	if !m.reported.IsZero() {
		fmt.Fprintf(m.Progress, "picket: moved %d batches, %d dead letters\n", m.moved.Batches, m.moved.DeadLetters)
	}
	m.reported = time.Now()
}
