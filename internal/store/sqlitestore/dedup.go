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
// Save with an event reserves its identity. A later one counts it as a duplicate and
// waits until the first is durable, because its result promises that the event is
// stored. If the first fails, its reservations are released and the later one is
// retried.
type eventDeduper struct {
	idSeed, namespaceSeed, contentSeed maphash.Seed

	mu           sync.Mutex // guards what follows
	window       *recentEvents
	reservations map[uint64]eventReservation // by hash of identity
	batches      map[string]*saveOp          // by batch id
}

// An eventReservation is an event that is being saved.
type eventReservation struct {
	op      *saveOp
	content contentHashOrSeq
}

func newEventDeduper(size int) *eventDeduper {
	return &eventDeduper{
		idSeed: maphash.MakeSeed(), namespaceSeed: maphash.MakeSeed(), contentSeed: maphash.MakeSeed(),
		window:       newRecentEvents(size),
		reservations: make(map[uint64]eventReservation),
		batches:      make(map[string]*saveOp),
	}
}

// An identityHasher hashes the identities of events. It remembers the namespace of the
// event before, which most events of a batch or block share.
type identityHasher struct {
	d         *eventDeduper
	namespace namespace
	hash      uint64 // of namespace
}

type namespace struct{ sender, agent, index string }

// setNamespace makes n the namespace of the next events. Without a sender there is
// none.
func (h *identityHasher) setNamespace(n namespace) {
	switch {
	case n.sender == "":
		h.namespace, h.hash = namespace{}, 0
	case n != h.namespace:
		h.namespace, h.hash = n, maphash.Comparable(h.d.namespaceSeed, n)
	}
}

// hashEvent returns the hashes of an event.
func (h *identityHasher) hashEvent(ev *picket.Event) hashedEvent {
	h.setNamespace(namespace{ev.Sender, ev.AgentID, ev.Index})
	return hashedEvent{maphash.String(h.d.idSeed, ev.ID) ^ h.hash, contentOfHash(maphash.Bytes(h.d.contentSeed, ev.Raw))}
}

// hashStored returns what the window keeps of a stored event.
func (h *identityHasher) hashStored(seq int64, id block.Identity) hashedEvent {
	h.setNamespace(namespace{id.Sender, id.AgentID, id.Index})
	return hashedEvent{maphash.Bytes(h.d.idSeed, id.ID) ^ h.hash, contentOfStoredSeq(seq)}
}

// storedIDs returns what the window keeps of the events of a block.
func (d *eventDeduper) storedIDs(b *block.Block) ([]hashedEvent, error) {
	out := make([]hashedEvent, 0, b.EventCount)
	hasher := identityHasher{d: d}
	err := b.EachIdentity(func(seq int64, id block.Identity) { out = append(out, hasher.hashStored(seq, id)) })
	return out, err
}

// reserve decides which batches and events of p are new, reserves their ids, and
// makes p depend on the operations that store the others.
func (d *eventDeduper) reserve(p *saveOp, batches []store.Batch, duplicate []bool) {
	hashes := make([][]hashedEvent, len(batches))
	hasher := identityHasher{d: d}
	for i, b := range batches {
		hashes[i] = make([]hashedEvent, len(b.Events))
		for k := range b.Events {
			hashes[i][k] = hasher.hashEvent(&b.Events[k])
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
		d.reserveEvents(p, sb, hashes[i])
	}
}

func (d *eventDeduper) reserveEvents(p *saveOp, sb *dedupedBatch, hashes []hashedEvent) {
	sb.isNew = make([]bool, len(hashes))
	for k, h := range hashes {
		if other, ok := d.reservations[h.identityHash]; ok {
			p.dependOn(other.op)
			if other.content != h.content {
				sb.conflicting = append(sb.conflicting, k)
			}
			continue
		}
		if stored := d.window.find(h.identityHash); stored != nil {
			if seq, ok := stored.storedSeq(); ok {
				sb.uncompared = append(sb.uncompared, uncomparedDuplicate{k, h, seq})
			} else if *stored != h.content {
				sb.conflicting = append(sb.conflicting, k)
			}
			continue
		}
		d.reservations[h.identityHash] = eventReservation{p, h.content}
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
		delete(d.reservations, h.identityHash)
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

// addStoredByOthers adds events that another process has stored to the window. An
// operation that has reserved one of them becomes stale.
func (d *eventDeduper) addStoredByOthers(ids []hashedEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range ids {
		d.window.add(h)
		if p := d.reservations[h.identityHash].op; p != nil {
			p.stale = true
		}
	}
}

// loadEventDeduper returns an eventDeduper that has the ids of the newest blocks.
func (s *Store) loadEventDeduper(ctx context.Context) (*eventDeduper, error) {
	d := newEventDeduper(s.options.DedupeWindowEvents)
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.close()
	var newestFirst [][]hashedEvent
	total := 0
	err = snap.eachBlock(ctx, func(b *block.Block) (bool, error) {
		ids, err := d.storedIDs(b)
		newestFirst = append(newestFirst, ids)
		total += len(ids)
		return total < s.options.DedupeWindowEvents, err
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
