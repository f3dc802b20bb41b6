// Package agent is the program on a host: it reads what happens there, keeps
// it in a spool on disk, and posts it to the server in order.
//
//	source ─▶ batch ─▶ spool (a queue on disk) ─▶ post ─▶ ack
//
// Promise: what is in the spool stays there until the server has answered
// that it is durable, over kill -9 and any outage of the server. When the
// spool is full, sources that can wait do; of the others the newest events
// are dropped and counted, and the count is reported.
package agent

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// A Source reads events of one kind.
type Source interface {
	// Events yields events, each one JSON object in any shape that intake
	// knows, until there are no more or ctx ends. An error that it yields is
	// of one event or one attempt: the source goes on unless it returns.
	// The bytes are the caller's.
	Events(ctx context.Context) iter.Seq2[[]byte, error]
}

// An Input is a source and how to treat it.
type Input struct {
	Name   string
	Source Source
	// Wait is set for sources that lose nothing by waiting, such as files:
	// when the spool is full they stop, where others drop.
	Wait bool
}

// A Spool is the queue that keeps batches until they are posted.
type Spool interface {
	queue.Queue
	Stats(ctx context.Context) (queue.Stats, error)
}

// Options make an agent.
type Options struct {
	Spool  Spool
	Client *Client
	Inputs []Input
	// BatchEvents and BatchBytes bound a batch, BatchAge how long its first
	// event waits for more; 0 means 500, 1 MiB and 1 s.
	BatchEvents, BatchBytes int
	BatchAge                time.Duration
	// RetryDelay is the most that the first retry waits; 0 means 1 s. It
	// doubles with each failure, up to MaxRetryDelay; 0 means 1 min.
	RetryDelay, MaxRetryDelay time.Duration
	Logger                    *slog.Logger // nil means slog.Default
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

// An Agent runs sources and posts what they read.
type Agent struct {
	opt     Options
	log     *slog.Logger
	metrics metrics
	dropped atomic.Int64 // not yet reported to the server
}

type metrics struct {
	read, spooled, posted, refused, dropped, retries atomic.Int64
}

// A Snapshot is an agent's counters since New, of events but for Retries.
// Refused is what the server said is bad, Dropped what the spool had no room
// for.
type Snapshot struct {
	Read, Spooled, Posted, Refused, Dropped, Retries int64
}

// New makes an agent.
func New(o Options) *Agent {
	o = o.withDefaults()
	return &Agent{opt: o, log: o.Logger}
}

// Metrics reads the counters.
func (a *Agent) Metrics() Snapshot {
	m := &a.metrics
	return Snapshot{Read: m.read.Load(), Spooled: m.spooled.Load(), Posted: m.posted.Load(), Refused: m.refused.Load(),
		Dropped: m.dropped.Load(), Retries: m.retries.Load()}
}

// Run reads and posts until ctx ends, or until all sources have ended and the
// spool is empty. What was read when ctx ends is spooled, and posted the next
// time.
func (a *Agent) Run(ctx context.Context) error {
	var reading sync.WaitGroup
	for _, in := range a.opt.Inputs {
		reading.Go(func() { a.read(ctx, in) })
	}
	posting, stop := context.WithCancel(ctx)
	defer stop()
	sent := make(chan struct{}, 1) // after each batch; one note is enough
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		a.post(posting, sent)
	}()
	reading.Wait()
	for ctx.Err() == nil {
		s, err := a.opt.Spool.Stats(ctx)
		if err == nil && s.Pending+s.Leased == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-sent:
		case <-time.After(time.Second): // another process may send from the spool
		}
	}
	stop()
	<-posted
	return nil
}
