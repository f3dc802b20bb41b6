package sqlitestore

import (
	"context"
	"hash/maphash"
	"sync"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// An eventDeduper decides which of the events that are being saved are new. The first
// Save with an id reserves it. A later one counts it as a duplicate and waits
// until the first is durable, because its result promises that the event is
// stored. If the first fails, its reservations are released and the later one is
// retried.
type eventDeduper struct {
	seed maphash.Seed

	mu      sync.Mutex // guards what follows
	window  *recentIDs
	pending map[uint64]*saveOp // by hash of event id
	batches map[string]*saveOp // by batch id
}

func newEventDeduper(size int) *eventDeduper {
	return &eventDeduper{
		seed:    maphash.MakeSeed(),
		window:  newIDWindow(size),
		pending: make(map[uint64]*saveOp),
		batches: make(map[string]*saveOp),
	}
}

func (d *eventDeduper) hash(id string) uint64 { return maphash.String(d.seed, id) }

func (d *eventDeduper) hashes(ids *block.IDList) []uint64 {
	out := make([]uint64, ids.Len())
	var id []byte
	for i := range out {
		id = ids.AppendTo(id[:0], i)
		out[i] = maphash.Bytes(d.seed, id)
	}
	return out
}

// reserve decides which batches and events of p are new, reserves their ids, and
// makes p depend on the operations that store the others.
func (d *eventDeduper) reserve(p *saveOp, batches []store.Batch, duplicate []bool) {
	hashes := make([][]uint64, len(batches))
	for i, b := range batches {
		hashes[i] = make([]uint64, len(b.Events))
		for k := range b.Events {
			hashes[i][k] = d.hash(b.Events[k].ID)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p.batches = make([]dedupedBatch, len(batches))
	for i, b := range batches {
		sb := &p.batches[i]
		sb.id = b.ID
		if other, ok := d.batches[b.ID]; ok || duplicate[i] {
			sb.duplicate = true
			p.dependOn(other)
			continue
		}
		d.batches[b.ID] = p
		d.reserveEvents(p, sb, b.Events, hashes[i])
	}
}

func (d *eventDeduper) reserveEvents(p *saveOp, sb *dedupedBatch, evs []picket.Event, hashes []uint64) {
	sb.isNew = make([]bool, len(evs))
	for k, h := range hashes {
		if other, ok := d.pending[h]; ok {
			p.dependOn(other)
			continue
		}
		if d.window.has(h) {
			continue
		}
		d.pending[h] = p
		p.reserved = append(p.reserved, h)
		sb.isNew[k] = true
		sb.stored++
	}
}

// finish ends p: it is durable or has failed with err.
func (d *eventDeduper) finish(p *saveOp, err error) {
	p.err = err
	d.release(p, err == nil)
	close(p.done)
}

// release releases p's reservations; the ids that are stored enter the window.
func (d *eventDeduper) release(p *saveOp, stored bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range p.reserved {
		delete(d.pending, h)
		if stored {
			d.window.add(h)
		}
	}
	for i := range p.batches {
		if b := &p.batches[i]; d.batches[b.id] == p {
			delete(d.batches, b.id)
		}
	}
}

// observeRemote adds ids that another process has stored to the window. An
// operation that has reserved one of them becomes stale.
func (d *eventDeduper) observeRemote(ids *block.IDList) {
	hashes := d.hashes(ids)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range hashes {
		d.window.add(h)
		if p := d.pending[h]; p != nil {
			p.stale = true
		}
	}
}

// loadEventDeduper returns an eventDeduper that has the ids of the newest blocks.
func (s *Store) loadEventDeduper(ctx context.Context) (*eventDeduper, error) {
	d := newEventDeduper(s.options.DedupeWindow)
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.close()
	var newestFirst [][]uint64
	total := 0
	err = snap.eachBlock(ctx, func(b *block.Block) (bool, error) {
		ids, err := b.IDs()
		newestFirst = append(newestFirst, d.hashes(&ids))
		total += ids.Len()
		return total < s.options.DedupeWindow, err
	})
	if err != nil {
		return nil, err
	}
	for i := len(newestFirst) - 1; i >= 0; i-- { // the newest are to leave the window last
		for _, h := range newestFirst[i] {
			d.window.add(h)
		}
	}
	return d, nil
}
