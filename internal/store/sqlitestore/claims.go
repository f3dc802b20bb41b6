package sqlitestore

import (
	"context"
	"hash/maphash"
	"sync"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// Claims decide which of the events that are being saved are new. The first
// Save with an id claims it; a later one counts it as a duplicate, and waits
// until the first is durable, because its answer promises that the event is.
// If the first fails, its claims are gone and the later one starts over.
type deduper struct {
	seed maphash.Seed

	mu      sync.Mutex // guards what follows
	window  *idWindow
	pending map[uint64]*saveOp // by hash of event id
	batches map[string]*saveOp // by batch id
}

func newDeduper(size int) *deduper {
	return &deduper{
		seed:    maphash.MakeSeed(),
		window:  newIDWindow(size),
		pending: make(map[uint64]*saveOp),
		batches: make(map[string]*saveOp),
	}
}

func (c *deduper) hash(id string) uint64 { return maphash.String(c.seed, id) }

func (c *deduper) hashes(ids *IDList) []uint64 {
	out := make([]uint64, ids.n)
	var id []byte
	for i := range out {
		id = ids.AppendTo(id[:0], i)
		out[i] = maphash.Bytes(c.seed, id)
	}
	return out
}

// reserve fills what p's batches have that is new, and p.after with the Saves
// that are not done yet and that p counts on.
func (c *deduper) reserve(p *saveOp, batches []store.Batch, repeated []bool) {
	hashes := make([][]uint64, len(batches))
	for i, b := range batches {
		hashes[i] = make([]uint64, len(b.Events))
		for k := range b.Events {
			hashes[i][k] = c.hash(b.Events[k].ID)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.batches = make([]saveBatch, len(batches))
	for i, b := range batches {
		sb := &p.batches[i]
		sb.id = b.ID
		if other, ok := c.batches[b.ID]; ok || repeated[i] {
			sb.duplicate = true
			p.dependOn(other)
			continue
		}
		c.batches[b.ID] = p
		c.reserveEvents(p, sb, b.Events, hashes[i])
	}
}

func (c *deduper) reserveEvents(p *saveOp, sb *saveBatch, evs []picket.Event, hashes []uint64) {
	sb.isNew = make([]bool, len(evs))
	for k, h := range hashes {
		if other, ok := c.pending[h]; ok {
			p.dependOn(other)
			continue
		}
		if c.window.has(h) {
			continue
		}
		c.pending[h] = p
		p.reserved = append(p.reserved, h)
		sb.isNew[k] = true
		sb.stored++
	}
}

// release ends p's claims: what is stored enters the window.
func (c *deduper) release(p *saveOp, stored bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range p.reserved {
		delete(c.pending, h)
		if stored {
			c.window.add(h)
		}
	}
	for i := range p.batches {
		if b := &p.batches[i]; c.batches[b.id] == p {
			delete(c.batches, b.id)
		}
	}
}

// observeRemote adds ids that another process stored, and makes the Saves stale that
// have one of them as new.
func (c *deduper) observeRemote(ids *IDList) {
	hashes := c.hashes(ids)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range hashes {
		c.window.add(h)
		if p := c.pending[h]; p != nil {
			p.stale = true
		}
	}
}

// loadDeduper fills the window from the newest blocks.
func (s *Store) loadDeduper(ctx context.Context) (*deduper, error) {
	c := newDeduper(s.options.DedupeWindow)
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.close()
	// The newest come last into the window, to leave it last.
	var all [][]uint64
	total := 0
	err = snap.eachBlock(ctx, 0, maxSeq, func(b *block) (bool, error) {
		ids, err := b.ids()
		all = append(all, c.hashes(&ids))
		total += ids.n
		return total < s.options.DedupeWindow, err
	})
	if err != nil {
		return nil, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		for _, h := range all[i] {
			c.window.add(h)
		}
	}
	return c, nil
}
