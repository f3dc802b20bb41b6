// Package queue defines the interface between intake and workers: a durable
// queue of batches that delivers each at least once, to one receiver at a time.
//
// Once Enqueue returns nil, the batch survives kill -9 and a power loss. It
// stays in the queue until it is acked or replaced by dead letters that say
// why it could not be processed. Each implementation has its own package and
// passes queuetest.
package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
)

// ErrFull is returned by Enqueue when the queue holds MaxBytes or its disk is
// almost full.
var ErrFull = fmt.Errorf("queue full: %w", picket.ErrUnavailable)

// ErrDiskFull is the ErrFull of a queue whose disk is almost full.
var ErrDiskFull = fmt.Errorf("disk nearly full: %w", ErrFull)

// ErrDamaged is returned when the queue's file cannot be read, and a retry cannot help.
var ErrDamaged = errors.New("queue file damaged")

// A Message is one batch on its way to a worker.
type Message struct {
	ID      string // the batch's ID
	Events  int    // the number of events in Payload
	Payload []byte // encoded by picket.Batch.Encode; the queue does not change it
	// Agent is the agent that sent the events, or the first of them. A sharded
	// queue keeps messages of the same Agent in order. A queue that keeps all
	// messages in order may drop it.
	Agent string
}

// An EnqueueRequest holds the arguments of one Enqueue.
type EnqueueRequest struct {
	Message  Message
	Rejected []DeadLetter
}

// A Delivery is a message leased to one receiver until that acks, retries or
// buries it. The queue renews the lease for as long as it is open. The lease
// ends when the queue is closed or its process dies; the message then goes to
// another receiver. Ack works after that too, but Retry and Bury have no
// effect.
type Delivery struct {
	Message
	Receipt  int64 // identifies the lease; opaque to callers
	Attempt  int   // 1 for the first delivery
	Lost     int   // how often the process that leased it died
	Enqueued time.Time
}

// A batch may kill the process that works on it, by exhausting its memory for
// example. The lease of such a batch is lost, as are those of all other batches
// that the process had leased. A queue delivers a message that was lost
// IsolateAfterLost times while the receiving process has leased nothing else. A
// receiver buries one that was lost MaxLost times instead of processing it.
const (
	IsolateAfterLost = 2
	MaxLost          = 4
)

// MaxIsolationWait bounds how long a queue delays other deliveries to a process
// so that an isolated message is alone.
const MaxIsolationWait = 30 * time.Second

// LostDeadLetter is the dead letter of a delivery that was lost MaxLost times.
func LostDeadLetter(d Delivery) DeadLetter {
	return DeadLetter{Reason: Failed, Cause: fmt.Sprintf("its worker was lost %d times", d.Lost), AgentID: d.Agent,
		Events: d.Events, Time: time.Now(), Payload: d.Payload}
}

// A Retry is a delivery that goes back to the queue.
type Retry struct {
	Delivery Delivery
	Cause    error // why processing failed; nil if it was not attempted
}

// A DeadReason says why a dead letter exists.
type DeadReason string

const (
	// Rejected: intake refused the event and told the sender so.
	Rejected DeadReason = "rejected"
	// Failed: the event was accepted, but no worker could process it.
	Failed DeadReason = "failed"
)

// A DeadLetter is an event that could not be processed. It is kept with the
// cause until an operator requeues or deletes it.
type DeadLetter struct {
	ID      int64      `json:"id"` // assigned by the queue
	Reason  DeadReason `json:"kind"`
	Cause   string     `json:"cause"`
	AgentID string     `json:"agent_id"`
	EventID string     `json:"event_id"`
	Events  int        `json:"events"` // 1, unless the letter is a whole batch
	Time    time.Time  `json:"time"`   // when processing failed
	// Payload is what Requeue enqueues: an encoded batch, usually of this one
	// event.
	Payload []byte `json:"-"`
}

// A Queue holds batches between intake and the workers. It is safe for
// concurrent use.
type Queue interface {
	// Enqueue stores m and the events of the same request that intake
	// rejected, in one durable step. m.Events may be 0 if all were rejected.
	// When the queue is full, the error is ErrFull.
	Enqueue(ctx context.Context, m Message, rejected ...DeadLetter) error
	// Receive leases up to max messages, oldest first. It blocks until there is
	// at least one or ctx ends. To bound memory, it may return fewer messages
	// than are waiting.
	Receive(ctx context.Context, max int) ([]Delivery, error)
	// Ack removes deliveries that have been processed.
	Ack(ctx context.Context, ds ...Delivery) error
	// Retry returns deliveries to the queue, to be delivered again after delay.
	// After an error, those that were not returned are delivered again when
	// their leases end.
	Retry(ctx context.Context, delay time.Duration, rs ...Retry) error
	// Bury acks d and stores dead letters in its place, in one durable step.
	Bury(ctx context.Context, d Delivery, deadLetters ...DeadLetter) error
	// Close releases the queue. Messages that are still leased are delivered
	// again later.
	Close() error
}

// A ResultReporter reports to the senders of events what was detected in them.
type ResultReporter interface {
	// ReportResult reports the matches in the events of d, which are stored. A
	// worker calls it before it acks or buries d.
	ReportResult(d Delivery, matches []picket.Match)
}

// An Inspector reads a queue's state and manages its dead letters, next to the
// receivers or from another process.
type Inspector interface {
	Stats(ctx context.Context) (Stats, error)
	// Peek lists up to n waiting messages, oldest first, without leasing them.
	Peek(ctx context.Context, n int) ([]Delivery, error)
	// DeadLetters lists up to n dead letters with IDs below before (0: the
	// newest), newest first. A page ends at MaxDeadLetterPageBytes, but has at
	// least one. Payloads of more than MaxListedPayloadBytes are left out.
	DeadLetters(ctx context.Context, before int64, n int) (DeadLetterPage, error)
	// Requeue enqueues dead letters as new messages: those with the given IDs,
	// or all. A letter without a payload stays. It returns how many were
	// requeued. Their events count as accepted, once more if they were before:
	// the counters of events never decrease.
	Requeue(ctx context.Context, ids ...int64) (int, error)
	// Purge deletes dead letters: those with the given IDs, or all. It returns
	// how many were deleted.
	Purge(ctx context.Context, ids ...int64) (int, error)
}

// Bounds of what Inspector.DeadLetters returns.
const (
	MaxDeadLetterPageBytes = 4 << 20
	MaxListedPayloadBytes  = 1 << 20
)

// A DeadLetterPage is one page of dead letters.
type DeadLetterPage struct {
	DeadLetters []DeadLetter
	Next        int64 // before of the next page; 0 on the last
}

// EstimateListedBytes is about how many bytes a dead letter takes in a list, in memory and as
// JSON, in which a byte of a text can take six.
func (l *DeadLetter) EstimateListedBytes() int {
	return 128 + 6*(len(l.Cause)+len(l.AgentID)+len(l.EventID)) + len(l.Payload)
}

// Stats is a snapshot of a queue. Events add up: each event that was offered
// is rejected, waiting in a pending or leased message, dead, or acked.
type Stats struct {
	Pending       int64   `json:"pending"` // messages waiting, including delayed ones
	Leased        int64   `json:"leased"`  // messages leased to receivers
	Dead          int64   `json:"dead"`    // dead letters held now, for both reasons
	PendingEvents int64   `json:"pending_events"`
	LeasedEvents  int64   `json:"leased_events"`
	Bytes         int64   `json:"bytes"`        // payload bytes held, including dead letters
	MaxBytes      int64   `json:"max_bytes"`    // the limit of Bytes
	OldestAge     float64 `json:"oldest_age_s"` // seconds since the oldest pending or leased message was enqueued
	InRate        float64 `json:"in_per_s"`     // events per second over the last minute
	OutRate       float64 `json:"out_per_s"`

	// Counters of events since the queue was created.
	Accepted int64 `json:"accepted_events"` // enqueued
	Rejected int64 `json:"rejected_events"` // refused by intake
	Failed   int64 `json:"failed_events"`   // buried by workers
	Purged   int64 `json:"purged_events"`   // deleted from the dead letters
	Dropped  int64 `json:"dropped_events"`  // rejected, and not kept as dead letters for lack of space
}
