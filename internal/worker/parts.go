package worker

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// processInParts processes batches whose fields or matches would take too much memory,
// one part after another. Only one goroutine does so at a time.
func (w *Worker) processInParts(ctx context.Context, d Detector, g *deliveryGroup) error {
	if !g.large {
		w.large.Lock()
		g.large = true
	}
	for _, p := range g.pending {
		if len(p.batch.Events) == 0 {
			continue // it cannot be decoded, or is lost too often
		}
		p.inParts, p.saves, p.deadLetters = true, nil, nil
		for from := 0; from < len(p.batch.Events); {
			n, err := w.processPart(ctx, d, p, from)
			if err != nil {
				return err
			}
			from += n
		}
	}
	return nil
}

// processPart processes events of a batch, beginning with one, and returns how many.
func (w *Worker) processPart(ctx context.Context, d Detector, p *pendingDelivery, from int) (processed int, err error) {
	events := p.batch.Events[from:]
	cost := 0
	for i := range events {
		if cost += eventMemoryBytes(events[i].Raw); i > 0 && cost > w.opt.MaxMemoryBytes {
			events = events[:i]
			break
		}
	}
	matches, n, err := w.detectPrefix(d, events)
	if isTransient(err) {
		return 0, err
	}
	part := pendingDelivery{delivery: p.delivery, batch: picket.Batch{Received: p.batch.Received}}
	if n > 0 {
		part.batch.ID, part.batch.Events = batchPartID(&p.batch, from, from+n), events[:n]
		part.saves = []store.Batch{{ID: part.batch.ID, Events: events[:n], Matches: matches}}
	} else { // detection fails on the first event
		n = 1
		part.deadLetters = []queue.DeadLetter{newDeadLetter(&p.batch, from, err)}
	}
	if err := w.savePending(ctx, &part); err != nil {
		return 0, err
	}
	p.deadLetters = append(p.deadLetters, part.deadLetters...)
	if w.opt.Results != nil && len(p.matches) < maxReportedMatches {
		for i := range part.saves {
			p.matches = append(p.matches, part.saves[i].Matches...)
		}
	}
	for i := range events[:n] {
		events[i].Fields = nil // they are saved
	}
	return n, nil
}

// maxReportedMatches is about how many matches of a batch in parts are reported to its sender.
const maxReportedMatches = 10_000

// batchPartID is the ID of a part of a batch. The last part has the batch's own ID: once that
// is saved, all of the batch is.
func batchPartID(b *picket.Batch, from, to int) string {
	if to == len(b.Events) {
		return b.ID
	}
	return fmt.Sprintf("%s.part-%d-%d", b.ID, from, to)
}
