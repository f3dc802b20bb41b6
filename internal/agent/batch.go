package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/zst"
)

// sourceBufferEvents and losslessBufferEvents are how many events a source may be ahead of
// its batch, for the time that the spool takes to sync. A lossless one can wait, and its
// events may be large.
const (
	sourceBufferEvents   = 4096
	losslessBufferEvents = 256
)

// readSource collects one input's events into batches and spools them, until the source
// has ended.
func (a *Agent) readSource(ctx context.Context, in Input) {
	log := a.log.With("source", in.Name)
	from := a.loadCheckpoint(in.Name)
	buffer := sourceBufferEvents
	if in.Lossless {
		buffer = losslessBufferEvents
	}
	events := make(chan Event, buffer)
	var failure error // of the source; read after events is closed
	go func() {
		defer close(events)
		failure = a.receiveEvents(ctx, in, from, events)
	}()
	if a.spoolEvents(ctx, in, from, events); ctx.Err() != nil {
		return
	}
	log.Info("source ended")
	incomplete, unreadable := errors.AsType[*IncompleteError](failure)
	if failure == nil || unreadable && incomplete.Err == nil {
		a.saveCheckpoint(in.Name, "") // the next run starts at the beginning
	}
	if failure != nil {
		a.reportIncomplete(failure)
	}
}

// maxLoggedUnreadable is how many unreadable events of a source are logged.
const maxLoggedUnreadable = 10

// receiveEvents sends the events of a source to a channel. If not all could be read, it
// returns an *IncompleteError.
func (a *Agent) receiveEvents(ctx context.Context, in Input, from Position, to chan<- Event) error {
	log := a.log.With("source", in.Name)
	incomplete := IncompleteError{Source: in.Name}
	for e, err := range in.Source.Events(ctx, from) {
		if err == nil {
			if e.Data != nil {
				a.counters.read.Add(1)
			}
			to <- e
			continue
		}
		if ctx.Err() != nil {
			continue
		}
		if _, unreadable := errors.AsType[*UnreadableEventError](err); !unreadable {
			incomplete.Err = err
			log.Warn("source error", "error", err)
			continue
		}
		a.counters.unreadable.Add(1)
		if incomplete.Unreadable++; incomplete.Unreadable <= maxLoggedUnreadable {
			log.Warn("event skipped: it cannot be read", "error", err)
		}
	}
	if more := incomplete.Unreadable - maxLoggedUnreadable; more > 0 {
		log.Warn("more events skipped: they cannot be read", "events", more)
	}
	if incomplete.Unreadable == 0 && incomplete.Err == nil {
		return nil
	}
	return &incomplete
}

// spoolEvents spools the events of an input in batches.
func (a *Agent) spoolEvents(ctx context.Context, in Input, from Position, events <-chan Event) {
	b := batch{position: from}
	age := time.NewTimer(time.Hour)
	defer age.Stop()
	ended := false // a batch was not spooled and will be read again, so no later one may be
	flush := func() {
		if b.events > 0 && !ended {
			a.awaitTokenCheck(ctx)
			// The server would reject events that name the wrong agent.
			_, wrong := errors.AsType[*WrongAgentError](context.Cause(ctx))
			ended = wrong || !a.spoolBatch(ctx, in, &b)
		}
		b = batch{position: b.position}
	}
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				flush()
				return
			case e.Data == nil:
				flush()
				if b.position = e.Position; !ended {
					a.saveCheckpoint(in.Name, b.position)
				}
				continue
			case b.events > 0 && len(b.body)+len(e.Data) >= a.opt.BatchBytes:
				flush()
			}
			if b.events == 0 {
				age.Reset(a.opt.BatchAge)
			}
			b.add(e.Data)
			b.position = cmp.Or(e.Position, b.position)
			if b.events >= a.opt.BatchEvents {
				flush()
			}
		case <-age.C:
			flush()
		}
	}
}

// A batch is a JSON array without its closing bracket.
type batch struct {
	body     []byte
	events   int
	position Position // up to which all events are in this batch or an earlier one
}

func (b *batch) add(rawEvent []byte) {
	if b.events == 0 {
		b.body = append(b.body, '[')
	} else {
		b.body = append(b.body, ',')
	}
	b.body = append(b.body, rawEvent...)
	b.events++
}

// message returns the batch as it is spooled and posted. It is compressed here,
// once.
func (b *batch) message() queue.Message {
	return queue.Message{ID: rand.Text(), Events: b.events, Payload: zst.CompressForSpeed(nil, append(b.body, ']'))}
}

// maxIntactBatchBytes bounds the decompressed size of a batch that IsIntact accepts; in
// a damaged one, the size can be anything.
const maxIntactBatchBytes = 256 << 20

// IsIntact reports whether the payload of a spooled batch is what was spooled: zstd, whose
// checksum is right, of an array of so many events.
func IsIntact(payload []byte, events int) bool {
	r, err := zst.NewReader(payload)
	if err != nil {
		return false
	}
	defer r.Close()
	plain, err := io.ReadAll(io.LimitReader(r, maxIntactBatchBytes))
	var array []json.RawMessage
	return err == nil && json.Unmarshal(plain, &array) == nil && len(array) == events
}

// NewLossReport returns a batch with one event that tells the server that a damaged spool
// was salvaged, and how many events were lost: -1 if that is not known.
func NewLossReport(lostEvents int64, now time.Time) (queue.Message, error) {
	message := fmt.Sprintf("the agent's spool was damaged: about %d events are lost", lostEvents)
	if lostEvents < 0 {
		message = "the agent's spool was damaged: it is not known how many events are lost"
	}
	event, err := json.Marshal(map[string]any{
		"event_type": "agent_spool_damaged", "event_id": rand.Text(), "@timestamp": now.UTC().Format(time.RFC3339Nano),
		"message": message, "lost_events": lostEvents,
	})
	if err != nil {
		return queue.Message{}, fmt.Errorf("report lost events: %w", err)
	}
	var b batch
	b.add(event)
	return b.message(), nil
}

// spoolBatch puts a batch into the spool and saves the position after it. While the
// spool is full, a lossless input waits; the events of any other are dropped. It returns
// false if the batch is to be read again from its source.
func (a *Agent) spoolBatch(ctx context.Context, in Input, b *batch) bool {
	m := b.message()
	put := context.WithoutCancel(ctx) // events that were read are spooled even while stopping
	for warned := false; ; {
		err := a.opt.Spool.Enqueue(put, m)
		if err == nil {
			a.counters.spooled.Add(int64(m.Events))
			a.saveCheckpoint(in.Name, b.position)
			return true
		}
		if errors.Is(err, queue.ErrDamaged) {
			a.stop(err) // Run ends, and can be called again with a new spool
			if in.Lossless && b.position != "" {
				return false
			}
		}
		if in.Lossless && b.position != "" && ctx.Err() != nil {
			a.log.Info("spool full while stopping; the source's last events will be read again at the next start", "source", in.Name, "events", m.Events)
			return false
		}
		if !in.Lossless || ctx.Err() != nil || !errors.Is(err, queue.ErrFull) {
			a.counters.dropped.Add(int64(m.Events))
			a.dropped.Add(int64(m.Events))
			a.log.Error("events dropped: the spool is full or failing", "source", in.Name, "events", m.Events,
				"dropped", a.counters.dropped.Load(), "error", err)
			return true
		}
		if !warned {
			warned = true
			a.log.Warn("spool full; source waits", "source", in.Name)
		}
		backoff.Sleep(ctx, min(a.opt.RetryDelay, time.Second))
	}
}
