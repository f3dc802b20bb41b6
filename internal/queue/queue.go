// Package queue is the seam between intake and the workers: a durable queue
// of batches, delivered at least once, to one receiver at a time.
//
// Promise: when Enqueue returns nil the batch survives kill -9 and a power
// cut, and it stays in the queue until it is acked, or until a letter with
// the cause stands in its place. Implementations live in packages of their
// own and pass queuetest.
package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
)

// ErrFull is a queue at its bound of bytes, or a disk nearly full.
var ErrFull = fmt.Errorf("queue full: %w", picket.ErrUnavailable)

// A Message is one batch on its way to a worker.
type Message struct {
	ID      string // the batch's id
	Events  int    // how many events Payload holds
	Payload []byte // picket.Batch.Encode; kept as it is
	// Agent is whose events they are, or the first of them: a queue that is
	// spread out keeps what has the same Agent in order. It may be empty, and
	// a queue that keeps all in order need not keep it.
	Agent string
}

// A Request is what one Enqueue is asked to store.
type Request struct {
	Message  Message
	Rejected []Letter
}

// A Delivery is a message lent to one receiver until it acks, retries or
// buries it. The queue renews the lease for as long as it is open: it ends
// when the queue is closed or its process dies, and another receiver gets
// the message. Ack works even then; Retry and Bury of what is no longer the
// caller's do nothing.
type Delivery struct {
	Message
	Token    int64 // names this delivery's row; opaque to callers
	Attempt  int   // 1 for the first
	Enqueued time.Time
}

// A Retry is a delivery that goes back to the queue.
type Retry struct {
	Delivery Delivery
	Cause    error // why it could not be processed; nil where nothing was tried
}

// A Kind tells why a letter is dead.
type Kind string

const (
	// Rejected: intake refused the event; the sender was told.
	Rejected Kind = "rejected"
	// Failed: the event was accepted, and no worker could process it.
	Failed Kind = "failed"
)

// A Letter is a dead letter: an event that could not be processed, kept with
// its cause until someone puts it back or deletes it.
type Letter struct {
	ID      int64     `json:"id"` // given by the queue
	Kind    Kind      `json:"kind"`
	Cause   string    `json:"cause"`
	AgentID string    `json:"agent_id"`
	EventID string    `json:"event_id"`
	Events  int       `json:"events"` // 1, but for a batch that cannot be decoded
	Time    time.Time `json:"time"`   // when it died
	// Payload is what Requeue puts back: an encoded batch of this one event.
	Payload []byte `json:"-"`
}

// A Queue holds batches between intake and the workers. It is safe for
// concurrent use.
type Queue interface {
	// Enqueue stores m, and the events of the same request that intake
	// rejected, in one durable step. m.Events may be 0 when all were
	// rejected. Past the bound it returns an error that is ErrFull.
	Enqueue(ctx context.Context, m Message, rejected ...Letter) error
	// Receive leases up to max messages, oldest first, and blocks until there
	// is at least one, or ctx ends. It may return fewer than there are, to
	// bound the bytes in memory.
	Receive(ctx context.Context, max int) ([]Delivery, error)
	// Ack removes deliveries that are done with.
	Ack(ctx context.Context, ds ...Delivery) error
	// Retry returns deliveries to the queue, to be delivered again after delay.
	// What it could not return is delivered again when its lease ends.
	Retry(ctx context.Context, delay time.Duration, rs ...Retry) error
	// Bury acks d and keeps letters in its place, in one durable step.
	Bury(ctx context.Context, d Delivery, letters ...Letter) error
	// Close releases the queue; leased messages are delivered again later.
	Close() error
}

// A ResultReporter reports to the senders of events what was detected in them.
type ResultReporter interface {
	// ReportResult reports the matches in the events of d, which are stored. A
	// worker calls it before it acks or buries d.
	ReportResult(d Delivery, matches []picket.Match)
}

// An Inspector looks into a queue and tends its dead letters, beside the
// receivers or from another process.
type Inspector interface {
	Stats(ctx context.Context) (Stats, error)
	// Peek lists up to n waiting messages, oldest first, without leasing them.
	Peek(ctx context.Context, n int) ([]Delivery, error)
	// Letters lists up to n dead letters with ids below before (0: newest),
	// newest first.
	Letters(ctx context.Context, before int64, n int) ([]Letter, error)
	// Requeue puts dead letters back as new messages: those named, or all.
	// A letter without a payload stays. It returns how many went. The events
	// of a rejected letter count as accepted from then on, those of a failed
	// one no longer as failed.
	Requeue(ctx context.Context, ids ...int64) (int, error)
	// Purge deletes dead letters: those named, or all. It returns how many.
	Purge(ctx context.Context, ids ...int64) (int, error)
}

// Stats describes a queue at one moment. Events add up: Received is what was
// offered; each is Rejected, or waits in Pending or Leased messages, or is
// dead, or was acked.
type Stats struct {
	Pending       int64   `json:"pending"` // messages waiting, delayed ones too
	Leased        int64   `json:"leased"`  // messages lent to receivers
	Dead          int64   `json:"dead"`    // dead letters kept now, of both kinds
	PendingEvents int64   `json:"pending_events"`
	LeasedEvents  int64   `json:"leased_events"`
	Bytes         int64   `json:"bytes"`        // payload bytes held, dead letters too
	MaxBytes      int64   `json:"max_bytes"`    // the bound
	OldestAge     float64 `json:"oldest_age_s"` // seconds since the oldest waiting or leased message was enqueued
	InRate        float64 `json:"in_per_s"`     // events a second over the last minute
	OutRate       float64 `json:"out_per_s"`

	// Counters of events since the queue was made.
	Accepted int64 `json:"accepted_events"` // enqueued
	Rejected int64 `json:"rejected_events"` // refused by intake
	Failed   int64 `json:"failed_events"`   // buried by workers
	Purged   int64 `json:"purged_events"`   // of the dead, deleted by hand
	Dropped  int64 `json:"dropped_events"`  // of the rejected, not kept as letters for want of room
}
