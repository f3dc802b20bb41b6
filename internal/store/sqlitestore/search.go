package sqlitestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

const defaultLimit = 100

// SearchEvents implements store.Events.
func (s *Store) SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	page, err := s.searchEvents(ctx, q)
	if err != nil {
		return store.EventPage{}, fmt.Errorf("search events: %w", err)
	}
	return page, nil
}

func (s *Store) searchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	beforeSeq := int64(maxSeq)
	if q.Cursor != "" {
		at, err := store.ParseCursor(store.EventCursor, q.Cursor)
		if err != nil {
			return store.EventPage{}, err
		}
		beforeSeq = at.A
	}
	since, until := store.TimeRangeMicros(q.Since, q.Until)
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	f := &blockSearch{store: s, ctx: ctx, query: q, since: since, until: until, beforeSeq: beforeSeq, limit: limit, budget: store.NewPageBudget(limit)}
	if err := f.run(); err != nil {
		return store.EventPage{}, err
	}
	page := store.EventPage{Events: make([]picket.Event, 0, len(f.hits))}
	for _, h := range f.hits {
		page.Events = append(page.Events, h.Event)
	}
	if f.full {
		page.Next = store.Cursor{List: store.EventCursor, A: f.hits[len(f.hits)-1].Seq}.String()
	}
	return page, nil
}

// A blockSearch is one call of SearchEvents. It searches the newest block first,
// alone, because that is often enough, and then as many at once as there are
// cores, unless other searches use them.
type blockSearch struct {
	store        *Store
	ctx          context.Context
	query        store.EventQuery
	since, until int64 // event times, microseconds
	beforeSeq    int64
	limit        int
	budget       store.PageBudget

	hits []block.FoundEvent // of the page
	full bool               // another event was found, which does not fit on the page
}

// add adds the hits of the next block to the page.
func (f *blockSearch) add(hits []block.FoundEvent, more bool) {
	for i := range hits {
		if !f.budget.Take(store.EventSize(&hits[i].Event)) {
			f.full = true
			return
		}
		f.hits = append(f.hits, hits[i])
	}
	f.full = more
}

func (f *blockSearch) run() error {
	snap, err := f.store.snapshot(f.ctx)
	if err != nil {
		return err
	}
	defer snap.close()
	var others []*snapshot
	defer func() {
		for _, o := range others {
			o.close()
			f.store.extraSearchers.Release(1)
		}
	}()
	first := true
	for end := f.beforeSeq; !f.full; {
		blocks, err := snap.listBlocks(f.ctx, "seq < ? AND max_time >= ? AND min_time < ? ORDER BY seq DESC LIMIT ?", end, f.since, f.until, blockRowsPerPage)
		if err != nil {
			return err
		}
		if len(blocks) == 0 {
			return nil
		}
		end = blocks[len(blocks)-1].seq
		if first {
			first = false
			if err := f.searchBlocks([]*snapshot{snap}, blocks[:1]); err != nil {
				return err
			}
			blocks = blocks[1:]
			if len(blocks) > 1 && !f.full {
				others = f.openFurtherSnapshots(snap, min(runtime.GOMAXPROCS(0), len(blocks))-1)
			}
		}
		if err := f.searchBlocks(append([]*snapshot{snap}, others...), blocks); err != nil {
			return err
		}
	}
	return nil
}

// openFurtherSnapshots opens up to maxFurther snapshots that show the same blocks. It
// opens fewer while blocks are being merged, or other searches use the cores or the
// connections.
func (f *blockSearch) openFurtherSnapshots(first *snapshot, maxFurther int) []*snapshot {
	var out []*snapshot
	for range maxFurther {
		if f.store.readDB.Stats().InUse >= f.store.readDB.Stats().MaxOpenConnections/2 || !f.store.extraSearchers.TryAcquire(1) {
			break
		}
		snap, err := f.store.snapshot(f.ctx)
		if err == nil && snap.blocksVersion != first.blocksVersion {
			snap.close()
			err = errMergedMeanwhile
		}
		if err != nil {
			f.store.extraSearchers.Release(1)
			break
		}
		out = append(out, snap)
	}
	return out
}

var errMergedMeanwhile = errors.New("blocks were merged meanwhile")

// A blockResult is what was found in one block.
type blockResult struct {
	done  chan struct{} // closed once the rest is set
	hits  []block.FoundEvent
	bytes int  // of hits
	more  bool // the block has more than fits on a page
	err   error
}

// searchBlocks searches blocks, newest first, with a goroutine for each snapshot.
func (f *blockSearch) searchBlocks(snaps []*snapshot, blocks []*blockRow) error {
	results := make([]blockResult, len(blocks))
	for i := range results {
		results[i].done = make(chan struct{})
	}
	ahead := newSearchAheadBudget()
	var next atomic.Int64
	var goroutines sync.WaitGroup
	defer goroutines.Wait()
	defer ahead.cancel()
	for _, snap := range snaps[:min(len(snaps), len(blocks))] {
		goroutines.Go(func() {
			searcher := f.store.searchers.getOrCreate()
			defer f.store.searchers.put(searcher)
			q := block.NewQuery(f.query.Where, f.since, f.until, f.beforeSeq)
			q.OnlyFields = f.query.OnlyFields
			for {
				i := int(next.Add(1)) - 1
				if i >= len(blocks) || ahead.canceled() {
					return
				}
				if results[i].err = f.ctx.Err(); results[i].err == nil && !f.store.damaged.has(blocks[i]) {
					f.searchBlock(searcher, snap.openBlock(blocks[i]), q, i, &results[i], ahead)
				}
				if isDamage(results[i].err) {
					f.store.setAside(blocks[i], results[i].err, false)
					results[i].hits, results[i].more, results[i].err = nil, false, nil
				}
				close(results[i].done)
			}
		})
	}
	for i := range results {
		<-results[i].done
		if results[i].err != nil {
			return results[i].err
		}
		if f.add(results[i].hits, results[i].more); f.full {
			return nil
		}
		ahead.turnToNextBlock(results[i].bytes)
		results[i].hits = nil
	}
	return nil
}

// searchBlock searches block number i for as many events as fit on a page.
func (f *blockSearch) searchBlock(s *block.Searcher, b *block.Block, q *block.Query, i int, r *blockResult, ahead *searchAheadBudget) {
	budget := store.NewPageBudget(f.limit)
	r.err = s.Search(f.ctx, b, q, func(h block.FoundEvent) bool {
		size := store.EventSize(&h.Event)
		if !budget.Take(size) {
			r.more = true
			return false
		}
		if !ahead.waitToHold(i, size) {
			return false
		}
		r.hits = append(r.hits, h)
		r.bytes += size
		return true
	})
}

// maxFieldNameBlocks bounds the blocks that EachFieldNames reads: millions of events.
const maxFieldNameBlocks = 4096

// EachFieldNames implements store.Events.
func (s *Store) EachFieldNames(ctx context.Context, seen func(names []string) bool) (complete bool, err error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return false, err
	}
	defer snap.close()
	searcher := s.searchers.getOrCreate()
	defer s.searchers.put(searcher)
	blocks := 0
	complete = true
	err = snap.eachBlock(ctx, func(b *block.Block) (bool, error) {
		if blocks == maxFieldNameBlocks {
			complete = false
			return false, nil
		}
		blocks++
		names, err := searcher.FieldNames(b)
		return err == nil && seen(names), cmp.Or(err, ctx.Err())
	})
	if err != nil {
		return false, fmt.Errorf("list fields: %w", err)
	}
	return complete, nil
}

// Event implements store.Events.
func (s *Store) Event(ctx context.Context, ref store.EventSelector) (picket.Event, error) {
	ev, err := s.event(ctx, ref)
	if err != nil {
		return picket.Event{}, fmt.Errorf("read event %s: %w", ref.ID, err)
	}
	return ev, nil
}

func (s *Store) event(ctx context.Context, ref store.EventSelector) (ev picket.Event, err error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return ev, err
	}
	defer snap.close()
	searcher := s.searchers.getOrCreate()
	defer s.searchers.put(searcher)
	named := store.NewSameIDEvents(ref)
	err = snap.eachBlock(ctx, func(b *block.Block) (bool, error) {
		rows, err := b.FindID(ref.ID)
		if err != nil {
			return false, err
		}
		for _, row := range rows {
			described, err := b.EventWithoutContent(row, ref.ID)
			if err != nil {
				return false, err
			}
			first, more := named.Add(described)
			if first {
				if ev, err = searcher.Event(b, row); err != nil {
					return false, err
				}
			}
			if !more {
				return false, nil
			}
		}
		return true, ctx.Err()
	})
	return ev, cmp.Or(err, named.CheckExactlyOne())
}
