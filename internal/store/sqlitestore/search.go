package sqlitestore

import (
	"cmp"
	"context"
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
		at, err := parseCursor(cursorEvents, q.Cursor, 1)
		if err != nil {
			return store.EventPage{}, err
		}
		beforeSeq = at[0]
	}
	since, until := store.TimeRange(q.Since, q.Until)
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	f := &blockSearch{store: s, ctx: ctx, where: q.Where, since: since, until: until, beforeSeq: beforeSeq, limit: limit + 1}
	if err := f.run(); err != nil {
		return store.EventPage{}, err
	}
	page := store.EventPage{Events: make([]picket.Event, 0, min(len(f.hits), limit))}
	for i, h := range f.hits {
		if i == limit {
			page.Next = formatCursor(cursorEvents, f.hits[limit-1].Seq)
			break
		}
		page.Events = append(page.Events, h.Event)
	}
	return page, nil
}

// A blockSearch is one call of SearchEvents. It searches the newest block first,
// alone, because that is often enough, and then as many at once as there are
// cores.
type blockSearch struct {
	store        *Store
	ctx          context.Context
	where        store.Expr
	since, until int64 // event times, microseconds
	beforeSeq    int64
	limit        int

	hits []block.Hit
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
		}
	}()
	first := true
	for end := f.beforeSeq; len(f.hits) < f.limit; {
		blocks, err := snap.listBlocks(f.ctx, "seq < ? AND max_time >= ? AND min_time < ? ORDER BY seq DESC LIMIT ?", end, f.since, f.until, blockPageSize)
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
			if len(blocks) > 1 && len(f.hits) < f.limit {
				others = f.openSnapshots(snap, min(runtime.GOMAXPROCS(0), len(blocks))-1)
			}
		}
		if err := f.searchBlocks(append([]*snapshot{snap}, others...), blocks); err != nil {
			return err
		}
	}
	return nil
}

// openSnapshots opens up to n further snapshots that show the same blocks. It
// opens fewer while blocks are being merged or connections are scarce.
func (f *blockSearch) openSnapshots(first *snapshot, n int) []*snapshot {
	var out []*snapshot
	for range n {
		if f.store.readDB.Stats().InUse >= f.store.readDB.Stats().MaxOpenConnections/2 {
			break
		}
		snap, err := f.store.snapshot(f.ctx)
		if err != nil {
			break
		}
		if snap.layout != first.layout {
			snap.close()
			break
		}
		out = append(out, snap)
	}
	return out
}

// searchBlocks searches blocks, newest first, with a goroutine for each snapshot.
func (f *blockSearch) searchBlocks(snaps []*snapshot, blocks []*blockRow) error {
	type result struct {
		hits []block.Hit
		err  error
	}
	results := make([]result, len(blocks))
	done := make([]chan struct{}, len(blocks))
	for i := range done {
		done[i] = make(chan struct{})
	}
	var next atomic.Int64
	var stop atomic.Bool
	var goroutines sync.WaitGroup
	defer goroutines.Wait()
	defer stop.Store(true)
	for _, snap := range snaps[:min(len(snaps), len(blocks))] {
		goroutines.Go(func() {
			searcher := f.store.searchers.get()
			defer f.store.searchers.put(searcher)
			q := block.NewQuery(f.where, f.since, f.until, f.beforeSeq)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(blocks) || stop.Load() {
					return
				}
				r := &results[i]
				if r.err = f.ctx.Err(); r.err == nil {
					r.hits, r.err = searcher.Search(snap.open(blocks[i]), q, f.limit)
				}
				close(done[i])
			}
		})
	}
	for i := range blocks {
		<-done[i]
		if results[i].err != nil {
			return results[i].err
		}
		f.hits = append(f.hits, results[i].hits...)
		if len(f.hits) >= f.limit {
			f.hits = f.hits[:f.limit]
			return nil
		}
	}
	return nil
}

// Event implements store.Events.
func (s *Store) Event(ctx context.Context, ref store.EventRef) (picket.Event, error) {
	ev, err := s.event(ctx, ref)
	if err != nil {
		return picket.Event{}, fmt.Errorf("read event %s: %w", ref.ID, err)
	}
	return ev, nil
}

func (s *Store) event(ctx context.Context, ref store.EventRef) (ev picket.Event, err error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return ev, err
	}
	defer snap.close()
	searcher := s.searchers.get()
	defer s.searchers.put(searcher)
	named := store.NewSameIDEvents(ref)
	err = snap.eachBlock(ctx, func(b *block.Block) (bool, error) {
		rows, err := b.FindID(ref.ID)
		if err != nil {
			return false, err
		}
		for _, row := range rows {
			described, err := b.Described(row, ref.ID)
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
	return ev, cmp.Or(err, named.Err())
}
