package sqlitestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// A saveOp is one attempt of a call of Save.
type saveOp struct {
	batches   []dedupedBatch
	reserved  []hashedEvent // the events that it has reserved
	dependsOn []*saveOp     // those that store events which it counts as duplicates
	stale     bool          // it has to be retried; set by the writer

	blocks  []block.Encoded
	hosts   map[store.HostKey]*store.HostActivity
	minutes store.MinuteCounter

	done chan struct{} // closed when it is durable or has failed
	err  error         // set before done is closed
}

// A dedupedBatch is a batch of a saveOp, and which of its events are new.
type dedupedBatch struct {
	id           string
	sender       string
	duplicate    bool
	isNew        []bool // by event
	stored       int
	rawBytes     int   // of the new events
	conflicting  []int // as in store.SaveResult
	uncompared   []uncomparedDuplicate
	matches      []picket.Match // of new events
	observations [][]byte       // of new events, encoded
	replay       bool           // matches may have been saved before

	// Set by the writer:
	newMatches int
	opened     []picket.Alert
}

func (p *saveOp) dependOn(other *saveOp) {
	if other == nil || other == p {
		return
	}
	for _, o := range p.dependsOn {
		if o == other {
			return
		}
	}
	p.dependsOn = append(p.dependsOn, other)
}

func (p *saveOp) batchResults() []store.SaveResult {
	out := make([]store.SaveResult, len(p.batches))
	for i := range p.batches {
		b := &p.batches[i]
		if out[i].DuplicateBatch = b.duplicate; b.duplicate {
			continue
		}
		out[i] = store.SaveResult{Stored: b.stored, Duplicate: len(b.isNew) - b.stored, Conflicting: b.conflicting, Matches: b.newMatches, Opened: b.opened}
	}
	return out
}

// Save implements store.Events.
func (s *Store) Save(ctx context.Context, batches ...store.Batch) ([]store.SaveResult, error) {
	for {
		p, err := s.trySave(ctx, batches)
		if errors.Is(err, errRetrySave) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("save %d batches: %w", len(batches), err)
		}
		s.backlog.add(p.blocks, s.options.BlockEvents)
		s.backlog.waitWhileTooLarge(ctx, s.quit)
		return p.batchResults(), nil
	}
}

// trySave is one attempt. What it reserves is released by finish, which either it
// or the writer calls.
func (s *Store) trySave(ctx context.Context, batches []store.Batch) (*saveOp, error) {
	if s.quit.Err() != nil {
		return nil, errClosed
	}
	duplicate, err := s.findDuplicateBatches(ctx, batches)
	if err != nil {
		return nil, err
	}
	p := &saveOp{done: make(chan struct{})}
	s.dedup.reserve(p, batches, duplicate)
	err = s.prepareSave(ctx, p, batches)
	if err == nil {
		err = p.waitForDependencies(ctx)
	}
	if err != nil {
		s.dedup.finish(p, err)
		return nil, err
	}
	if err := s.writer.enqueue(ctx, &writeOp{save: p}); err != nil {
		s.dedup.finish(p, err)
		return nil, err
	}
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return nil, ctx.Err() // the batch may still be saved; a retry finds out
	}
}

// findDuplicateBatches reports which batches have been saved.
func (s *Store) findDuplicateBatches(ctx context.Context, batches []store.Batch) ([]bool, error) {
	out := make([]bool, len(batches))
	for i, b := range batches {
		if b.ID == "" {
			return nil, fmt.Errorf("a batch has no id: %w", picket.ErrInvalid)
		}
		var err error
		if out[i], err = s.Saved(ctx, b.ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Saved implements store.Events.
func (s *Store) Saved(ctx context.Context, batchID string) (saved bool, err error) {
	err = s.lookupDB.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM batches WHERE id = ?)", batchID).Scan(&saved)
	if err != nil {
		return false, fmt.Errorf("look up batch %s: %w", batchID, err)
	}
	return saved, nil
}

// prepareSave does everything that needs no transaction.
func (s *Store) prepareSave(ctx context.Context, p *saveOp, batches []store.Batch) error {
	evs, err := p.fillFromBatches(batches)
	if err != nil {
		return err
	}
	p.countEvents(evs)
	if err := s.compareStored(ctx, p); err != nil {
		return err
	}
	b := s.builders.getOrCreate()
	defer s.builders.put(b)
	for len(evs) > 0 {
		n := s.blockLength(evs)
		p.blocks = append(p.blocks, b.EncodeFresh(evs[:n], nil))
		evs = evs[n:]
	}
	return nil
}

// waitForDependencies waits for the operations that p depends on.
func (p *saveOp) waitForDependencies(ctx context.Context) error {
	for _, o := range p.dependsOn {
		select {
		case <-o.done:
			if o.err != nil {
				return errRetrySave
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// fillFromBatches sets the matches and observations of all batches, and returns their new
// events.
func (p *saveOp) fillFromBatches(batches []store.Batch) (newEvents []picket.Event, err error) {
	for i := range batches {
		sb := &p.batches[i]
		if sb.duplicate {
			continue
		}
		sb.sender = batches[i].Sender()
		for k, isNew := range sb.isNew {
			if isNew {
				sb.rawBytes += len(batches[i].Events[k].Raw)
			}
		}
		sb.matches = store.NewMatches(&batches[i], sb.isNew)
		if err := sb.splitObservations(); err != nil {
			return nil, err
		}
		if len(batches) == 1 && sb.stored == len(batches[i].Events) {
			return batches[i].Events, nil
		}
		for k := range batches[i].Events {
			if sb.isNew[k] {
				newEvents = append(newEvents, batches[i].Events[k])
			}
		}
	}
	return newEvents, nil
}

// countEvents counts events by host and by minute.
func (p *saveOp) countEvents(evs []picket.Event) {
	p.hosts = make(map[store.HostKey]*store.HostActivity)
	for i := range evs {
		key := store.HostKey{AgentID: evs[i].AgentID, Name: evs[i].Host}
		h := p.hosts[key]
		if h == nil {
			h = &store.HostActivity{}
			p.hosts[key] = h
		}
		received := block.Micros(evs[i].Received)
		h.Add(&evs[i], received)
		p.minutes.Add(store.StartOfMinuteMicros(received), evs[i].Type)
	}
}

// blockLength returns how many of evs, at least one, go into one block.
func (s *Store) blockLength(evs []picket.Event) int {
	bytes := 0
	for i := range evs {
		if bytes += len(evs[i].Raw); i > 0 && bytes > maxBlockRawBytes || i == s.options.BlockEvents {
			return i
		}
	}
	return len(evs)
}

// splitObservations moves the observations out of the matches, and drops the
// matches that open no alert.
func (b *dedupedBatch) splitObservations() error {
	var observations []store.Observation
	var rest []picket.Match
	for i := range b.matches {
		m := &b.matches[i]
		if m.Observed != nil {
			observations = append(observations, store.NewObservation(m))
		}
		if !m.CorrelationOnly {
			rest = append(rest, *m)
		}
	}
	if observations == nil {
		return nil
	}
	b.matches = rest
	var err error
	b.observations, err = encodeObservations(observations)
	return err
}
