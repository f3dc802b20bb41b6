package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/zst"
)

// buffered is how many events wait between a source and its batch while the
// spool syncs.
const buffered = 4096

// read gathers one source's events into batches and spools them.
func (a *Agent) read(ctx context.Context, in Input) {
	log := a.log.With("source", in.Name)
	events := make(chan []byte, buffered)
	go func() {
		defer close(events)
		for e, err := range in.Source.Events(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					log.Warn("source", "error", err)
				}
				continue
			}
			a.metrics.read.Add(1)
			events <- e
		}
	}()
	var b batch
	age := time.NewTimer(time.Hour)
	defer age.Stop()
	flush := func() {
		if b.events > 0 {
			a.spool(ctx, in, &b)
			b = batch{}
		}
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				flush()
				log.Info("source ended")
				return
			}
			if b.events > 0 && len(b.body)+len(e) >= a.opt.BatchBytes {
				flush()
			}
			if b.events == 0 {
				age.Reset(a.opt.BatchAge)
			}
			b.add(e)
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
	body   []byte
	events int
}

func (b *batch) add(e []byte) {
	if b.events == 0 {
		b.body = append(b.body, '[')
	} else {
		b.body = append(b.body, ',')
	}
	b.body = append(b.body, e...)
	b.events++
}

// message is the batch as it is spooled and posted: compressed, so that it is
// compressed once.
func (b *batch) message() queue.Message {
	return queue.Message{ID: rand.Text(), Events: b.events, Payload: zst.Fast(nil, append(b.body, ']'))}
}

// spool puts a batch into the spool. Where it is full, sources that can wait
// for room; the others' events are dropped.
func (a *Agent) spool(ctx context.Context, in Input, b *batch) {
	m := b.message()
	put := context.WithoutCancel(ctx) // what was read is kept, also at the end
	for said := false; ; {
		err := a.opt.Spool.Enqueue(put, m)
		if err == nil {
			a.metrics.spooled.Add(int64(m.Events))
			return
		}
		if !in.Wait || ctx.Err() != nil || !errors.Is(err, queue.ErrFull) {
			a.metrics.dropped.Add(int64(m.Events))
			a.dropped.Add(int64(m.Events))
			a.log.Error("events dropped: the spool does not take them", "source", in.Name, "events", m.Events,
				"dropped", a.metrics.dropped.Load(), "error", err)
			return
		}
		if !said {
			said = true
			a.log.Warn("source waits: the spool is full", "source", in.Name)
		}
		sleep(ctx, min(a.opt.RetryDelay, time.Second))
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
