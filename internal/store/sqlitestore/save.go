package sqlitestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// A saving is a call of Save on its way.
type saving struct {
	batches []savingBatch
	hashes  []uint64  // of the event ids that it has claimed
	after   []*saving // those whose events it counts as known already
	stale   bool      // must decide anew; the writer's

	blocks  []built
	hosts   map[string]*hostSeen
	minutes map[minuteType]int64

	done chan struct{} // closed when it is durable or has failed
	err  error         // then
}

type savingBatch struct {
	id       string
	repeated bool
	isNew    []bool // by event
	stored   int
	matches  []picket.Match // of new events
	observed []byte         // of them, for correlations
	again    bool           // matches may have been saved before

	// Filled by the writer.
	newMatches int
	opened     []picket.Alert
}

type hostSeen struct {
	agent, os           string
	first, last, events int64
}

type minuteType struct {
	minute int64
	typ    string
}

func (p *saving) waitFor(other *saving) {
	if other == nil || other == p {
		return
	}
	for _, o := range p.after {
		if o == other {
			return
		}
	}
	p.after = append(p.after, other)
}

// finish ends p: it is durable, or failed with err.
func (c *claims) finish(p *saving, err error) {
	p.err = err
	c.resolve(p, err == nil)
	close(p.done)
}

// Save implements store.Events.
func (s *Store) Save(ctx context.Context, batches ...store.Batch) ([]store.SaveResult, error) {
	for {
		p, err := s.save(ctx, batches)
		if errors.Is(err, errStale) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("save %d batches: %w", len(batches), err)
		}
		s.compact.note(p.blocks, s.opt.BlockEvents)
		s.compact.pace(ctx, s.quit)
		return p.saved(), nil
	}
}

func (p *saving) saved() []store.SaveResult {
	out := make([]store.SaveResult, len(p.batches))
	for i := range p.batches {
		b := &p.batches[i]
		if out[i].DuplicateBatch = b.repeated; b.repeated {
			continue
		}
		out[i] = store.SaveResult{Stored: b.stored, Duplicate: len(b.isNew) - b.stored, Matches: b.newMatches, Opened: b.opened}
	}
	return out
}

// save is one attempt. Whatever it claims, it or the writer ends.
func (s *Store) save(ctx context.Context, batches []store.Batch) (*saving, error) {
	if s.quit.Err() != nil {
		return nil, errClosed
	}
	repeated, err := s.repeated(ctx, batches)
	if err != nil {
		return nil, err
	}
	p := &saving{done: make(chan struct{})}
	s.claims.claim(p, batches, repeated)
	if err := s.prepare(ctx, p, batches); err != nil {
		s.claims.finish(p, err)
		return nil, err
	}
	if err := s.w.submit(ctx, &job{p: p}); err != nil {
		s.claims.finish(p, err)
		return nil, err
	}
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return nil, ctx.Err() // it may yet be saved, and a retry will find that out
	}
}

// repeated looks the ids of batches up.
func (s *Store) repeated(ctx context.Context, batches []store.Batch) ([]bool, error) {
	out := make([]bool, len(batches))
	for i, b := range batches {
		if b.ID == "" {
			return nil, fmt.Errorf("a batch has no id: %w", picket.ErrInvalid)
		}
		err := s.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM batches WHERE id = ?)", b.ID).Scan(&out[i])
		if err != nil {
			return nil, fmt.Errorf("look up batch %s: %w", b.ID, err)
		}
	}
	return out, nil
}

// prepare does all the work that needs no transaction, then waits for the
// Saves that p counts on.
func (s *Store) prepare(ctx context.Context, p *saving, batches []store.Batch) error {
	p.hosts = make(map[string]*hostSeen)
	p.minutes = make(map[minuteType]int64)
	var evs []picket.Event
	for i := range batches {
		sb := &p.batches[i]
		if sb.repeated {
			continue
		}
		sb.matches = newMatches(&batches[i], sb.isNew)
		if err := sb.observe(); err != nil {
			return err
		}
		if len(batches) == 1 && sb.stored == len(batches[i].Events) {
			evs = batches[i].Events
			break
		}
		for k := range batches[i].Events {
			if sb.isNew[k] {
				evs = append(evs, batches[i].Events[k])
			}
		}
	}
	for i := range evs {
		h := p.hosts[evs[i].Host]
		if h == nil {
			h = &hostSeen{}
			p.hosts[evs[i].Host] = h
		}
		h.see(&evs[i])
		p.minutes[minuteType{minuteOf(micros(evs[i].Received)), evs[i].Type}]++
	}
	b := s.builders.get()
	defer s.builders.put(b)
	for len(evs) > 0 {
		n := s.blockful(evs)
		p.blocks = append(p.blocks, b.fresh(evs[:n], nil))
		evs = evs[n:]
	}
	for _, o := range p.after {
		select {
		case <-o.done:
			if o.err != nil {
				return errStale
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// blockful returns how many of evs, at least one, go into one block.
func (s *Store) blockful(evs []picket.Event) int {
	bytes := 0
	for i := range evs {
		if bytes += len(evs[i].Raw); i > 0 && bytes > blockBytes || i == s.opt.BlockEvents {
			return i
		}
	}
	return len(evs)
}

// newMatches returns the matches of events that are new. Matches come in the
// order of events; where an id is there twice, each has the matches that follow it.
func newMatches(b *store.Batch, isNew []bool) []picket.Match {
	all := true
	for _, n := range isNew {
		all = all && n
	}
	if all {
		return b.Matches
	}
	var out []picket.Match
	at := 0
	for _, m := range b.Matches {
		i := at
		for i < len(b.Events) && b.Events[i].ID != m.EventID {
			i++
		}
		if i == len(b.Events) { // out of order: the first event of that id
			for i = 0; i < len(b.Events) && b.Events[i].ID != m.EventID; i++ {
			}
		} else {
			at = i
		}
		if i < len(b.Events) && isNew[i] {
			out = append(out, m)
		}
	}
	return out
}
