package agent

import (
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

// sourceBufferEvents is how many events a source may be ahead of its batch, for the
// time that the spool takes to sync.
const sourceBufferEvents = 4096

// readSource collects one input's events into batches and spools them.
func (a *Agent) readSource(ctx context.Context, in Input) {
	log := a.log.With("source", in.Name)
	from := a.loadCheckpoint(in.Name)
	events := make(chan Event, sourceBufferEvents)
	complete := true // the source has yielded all it has; read after events is closed
	go func() {
		defer close(events)
		for e, err := range in.Source.Events(ctx, from) {
			if err != nil {
				complete = false
				if ctx.Err() == nil {
					log.Warn("source error", "error", err)
				}
				continue
			}
			a.counters.read.Add(1)
			events <- e
		}
	}()
	var b batch
	age := time.NewTimer(time.Hour)
	defer age.Stop()
	flush := func() {
		if b.events == 0 {
			return
		}
		a.awaitTokenCheck(ctx)
		// The server would reject events that name the wrong agent.
		if _, wrong := errors.AsType[*WrongAgentError](context.Cause(ctx)); !wrong {
			a.spoolBatch(ctx, in, &b)
		}
		b = batch{}
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				flush()
				if complete && ctx.Err() == nil {
					a.saveCheckpoint(in.Name, "") // the next run starts at the beginning
				}
				log.Info("source ended")
				return
			}
			if b.events > 0 && len(b.body)+len(e.Data) >= a.opt.BatchBytes {
				flush()
			}
			if b.events == 0 {
				age.Reset(a.opt.BatchAge)
			}
			b.add(e.Data)
			b.position = e.Position
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
	position Position // after the last event
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
// spool is full, a lossless input waits; the events of any other are dropped.
func (a *Agent) spoolBatch(ctx context.Context, in Input, b *batch) {
	m := b.message()
	put := context.WithoutCancel(ctx) // events that were read are spooled even while stopping
	for warned := false; ; {
		err := a.opt.Spool.Enqueue(put, m)
		if err == nil {
			a.counters.spooled.Add(int64(m.Events))
			a.saveCheckpoint(in.Name, b.position)
			return
		}
		if errors.Is(err, queue.ErrDamaged) {
			a.stop(err) // Run ends, and can be called again with a new spool
			if in.Lossless && b.position != "" {
				return
			}
		}
		if in.Lossless && b.position != "" && ctx.Err() != nil {
			a.log.Info("spool full while stopping; the source's last events will be read again at the next start", "source", in.Name, "events", m.Events)
			return
		}
		if !in.Lossless || ctx.Err() != nil || !errors.Is(err, queue.ErrFull) {
			a.counters.dropped.Add(int64(m.Events))
			a.dropped.Add(int64(m.Events))
			a.log.Error("events dropped: the spool is full or failing", "source", in.Name, "events", m.Events,
				"dropped", a.counters.dropped.Load(), "error", err)
			return
		}
		if !warned {
			warned = true
			a.log.Warn("spool full; source waits", "source", in.Name)
		}
		backoff.Sleep(ctx, min(a.opt.RetryDelay, time.Second))
	}
}
