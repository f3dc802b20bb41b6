// Package agent runs on an endpoint: it reads events from sources, keeps them in
// a spool on disk, and uploads them to the server in order.
//
//	source ─▶ batch ─▶ spool (a queue on disk) ─▶ upload ─▶ ack
//	              checkpoint after that
//
// Promise: a spooled batch stays in the spool until picket's server itself has answered
// that this batch is durable, across kill -9 and any outage of the server; the answers of
// proxies, portals and other programs count as an outage. A source whose
// position can be saved continues after its last spooled event. When the spool
// is full, lossless sources wait; events of the others are dropped, counted and
// reported to the server.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// A Position is where a source can continue, in an encoding of its own. The zero
// Position is the beginning.
type Position string

// An Event is one event of a source.
type Event struct {
	// Data is one JSON object in any format that the intake knows. An Event without Data
	// has only a Position, which is saved before later events are spooled.
	Data []byte
	// Position is where to continue after this event; "" if the source cannot, or
	// continues where it would after an earlier event.
	Position Position
}

// An UnreadableEventError reports one event that cannot be read. Its source skips it.
type UnreadableEventError struct{ Err error }

func (e *UnreadableEventError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreadableEventError) Unwrap() error { return e.Err }

// An IncompleteError reports a source that has ended, and of which not all could be read.
type IncompleteError struct {
	Source     string
	Unreadable int   // events that were skipped
	Err        error // why the source ended early, or nil
}

func (e *IncompleteError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("source %s was not read to its end: %v", e.Source, e.Err)
	}
	return fmt.Sprintf("source %s: the events that cannot be read were skipped: %d", e.Source, e.Unreadable)
}

// Unwrap returns the cause.
func (e *IncompleteError) Unwrap() error { return e.Err }

// A Source reads events of one kind.
type Source interface {
	// Events yields the events after a position, until there are no more or ctx
	// ends. An error that it yields concerns one event or one attempt; the
	// iteration continues unless the source is done. The caller may keep
	// Event.Data.
	Events(ctx context.Context, from Position) iter.Seq2[Event, error]
}

// An Input is a source and how to treat it.
type Input struct {
	Name   string // unique among an agent's inputs
	Source Source
	// Lossless is set for sources that lose nothing by waiting, such as files:
	// they wait while the spool is full, where events of other sources are
	// dropped.
	Lossless bool
}

// Checkpoints store the position of each input.
type Checkpoints interface {
	// Load returns the saved position of an input, "" if there is none.
	Load(input string) (Position, error)
	// Save replaces the position of an input; "" deletes it.
	Save(input string, p Position) error
}

// A Spool is the queue that keeps batches until they are uploaded.
type Spool interface {
	queue.Queue
	Stats(ctx context.Context) (queue.Stats, error)
}

// Options configure an agent.
type Options struct {
	Spool  Spool
	Client *Client
	// AgentID is the agent that the inputs' events name. A token of another agent ends
	// Run with a *WrongAgentError. "" means that they name none or several.
	AgentID string
	Inputs  []Input
	// Checkpoints store how far inputs have been spooled; nil means that every
	// input starts at its beginning.
	Checkpoints Checkpoints
	// BatchEvents and BatchBytes bound a batch, BatchAge how long its first
	// event waits for more; 0 means 500, 1 MiB and 1 s.
	BatchEvents, BatchBytes int
	BatchAge                time.Duration
	// RetryDelay bounds the wait before the first retry; 0 means 1 s. It doubles
	// with each failure, up to MaxRetryDelay; 0 means 1 min.
	RetryDelay, MaxRetryDelay time.Duration
	// LostEvents is how many events were lost before the start, such as those of a
	// damaged spool. They are reported to the server.
	LostEvents int64
	Logger     *slog.Logger // nil means slog.Default
}

func (o Options) withDefaults() Options {
	o.BatchEvents = cmp.Or(o.BatchEvents, 500)
	o.BatchBytes = cmp.Or(o.BatchBytes, 1<<20)
	o.BatchAge = cmp.Or(o.BatchAge, time.Second)
	o.RetryDelay = cmp.Or(o.RetryDelay, time.Second)
	o.MaxRetryDelay = cmp.Or(o.MaxRetryDelay, time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// An Agent reads sources and uploads their events.
type Agent struct {
	opt      Options
	log      *slog.Logger
	counters counters
	dropped  atomic.Int64 // not yet reported to the server
	conn     connectionLog
	stop     context.CancelCauseFunc // ends Run; set by it
	// tokenCheckTried is closed after the first attempt to check the token.
	tokenCheckTried chan struct{}

	mu         sync.Mutex // guards incomplete
	incomplete []error    // *IncompleteErrors
}

type counters struct {
	read, unreadable, spooled, posted, rejected, dropped, retries atomic.Int64
}

// A MetricsSnapshot is an agent's counters since New. All but Retries count events:
// Unreadable those that sources skipped, Rejected those that the server rejected, Dropped
// those that the spool had no room for.
type MetricsSnapshot struct {
	Read, Unreadable, Spooled, Posted, Rejected, Dropped, Retries int64
}

// New returns an agent that does nothing until Run, which may be called once.
func New(o Options) *Agent {
	o = o.withDefaults()
	a := &Agent{opt: o, log: o.Logger, conn: connectionLog{log: o.Logger}, tokenCheckTried: make(chan struct{})}
	a.dropped.Store(o.LostEvents)
	return a
}

// Metrics returns the counters.
func (a *Agent) Metrics() MetricsSnapshot {
	m := &a.counters
	return MetricsSnapshot{Read: m.read.Load(), Unreadable: m.unreadable.Load(), Spooled: m.spooled.Load(), Posted: m.posted.Load(), Rejected: m.rejected.Load(),
		Dropped: m.dropped.Load(), Retries: m.retries.Load()}
}

// UnreportedLoss returns how many lost events the server has not been told of.
func (a *Agent) UnreportedLoss() int64 { return a.dropped.Load() }

// Run reads and uploads until ctx ends, or until all sources have ended and the
// spool is empty. Events that were read when ctx ends are spooled, and uploaded
// by the next agent. An error is one that a retry cannot help: a *WrongAgentError,
// queue.ErrDamaged of the spool, or, once all is uploaded, an *IncompleteError for each
// source of which not all could be read.
func (a *Agent) Run(ctx context.Context) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a.stop = stop
	var reading sync.WaitGroup
	for _, in := range a.opt.Inputs {
		reading.Go(func() { a.readSource(running, in) })
	}
	batchDone := make(chan struct{}, 1)
	uploaded := make(chan struct{})
	go func() {
		defer close(uploaded)
		if err := a.uploadSpool(running, batchDone); err != nil {
			stop(err)
		}
	}()
	reading.Wait()
	for running.Err() == nil {
		s, err := a.opt.Spool.Stats(running)
		if err == nil && s.Pending+s.Leased == 0 {
			break
		}
		select {
		case <-running.Done():
		case <-batchDone:
		case <-time.After(time.Second): // another process may upload from the spool
		}
	}
	stop(errDone)
	<-uploaded
	if err := context.Cause(running); ctx.Err() == nil && !errors.Is(err, errDone) {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	m := a.Metrics()
	a.log.Info("all sources ended, and the spool is empty", "sent", m.Posted, "rejected", m.Rejected, "unreadable", m.Unreadable)
	return errors.Join(a.incomplete...)
}

// reportIncomplete makes Run return an error.
func (a *Agent) reportIncomplete(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.incomplete = append(a.incomplete, err)
}

// errDone is why Run ends when there is nothing left to do.
var errDone = errors.New("done")
