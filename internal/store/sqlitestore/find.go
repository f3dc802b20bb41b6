package sqlitestore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

const defaultLimit = 100

// SearchEvents implements store.Events.
func (s *Store) SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	page, err := s.searchEvents(ctx, q)
	if err != nil {
		return store.EventPage{}, fmt.Errorf("find events: %w", err)
	}
	return page, nil
}

func (s *Store) searchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	below := int64(maxSeq)
	if q.Cursor != "" {
		at, err := parseCursor(cursorEvents, q.Cursor, 1)
		if err != nil {
			return store.EventPage{}, err
		}
		below = at[0]
	}
	since, until := bounds(q.Since, q.Until)
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	f := &blockSearch{store: s, ctx: ctx, where: q.Where, since: since, until: until, beforeSeq: below, limit: limit + 1}
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

// bounds are the times that a query selects, from since up to but not until.
func bounds(since, until time.Time) (int64, int64) {
	hi := int64(math.MaxInt64)
	if !until.IsZero() {
		hi = until.UnixMicro()
		if until.Nanosecond()%1000 != 0 {
			hi++
		}
	}
	lo := Micros(since)
	if !since.IsZero() && since.Nanosecond()%1000 != 0 {
		lo++
	}
	return lo, hi
}

// A blockSearch is one call of SearchEvents. It walks the blocks from the newest, the first
// alone, which is often enough, then as many at once as there are cores.
type blockSearch struct {
	store        *Store
	ctx          context.Context
	where        store.Expr
	since, until int64
	beforeSeq    int64
	limit        int

	hits []Hit
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
	for hi := f.beforeSeq; len(f.hits) < f.limit; {
		// A block without events past f.until or before f.since is not read at all.
		blocks, err := snap.listBlocks(f.ctx, "seq < ? AND max_time >= ? AND min_time < ? ORDER BY seq DESC LIMIT ?", hi, f.since, f.until, blockPage)
		if err != nil {
			return err
		}
		if len(blocks) == 0 {
			return nil
		}
		hi = blocks[len(blocks)-1].seq
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

// openSnapshots opens further snapshots that see the same blocks. Where that can't be
// had, because blocks are being merged or connections are short, the search
// does with fewer.
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
func (f *blockSearch) searchBlocks(snaps []*snapshot, blocks []*block) error {
	type result struct {
		hits []Hit
		err  error
	}
	results := make([]result, len(blocks))
	done := make([]chan struct{}, len(blocks))
	for i := range done {
		done[i] = make(chan struct{})
	}
	var next atomic.Int64
	var stop atomic.Bool
	var work sync.WaitGroup
	defer work.Wait()
	defer stop.Store(true)
	for _, snap := range snaps[:min(len(snaps), len(blocks))] {
		work.Go(func() {
			sc := f.store.searchers.get()
			defer f.store.searchers.put(sc)
			q := &Query{root: compileNode(f.where), since: f.since, until: f.until, beforeSeq: f.beforeSeq}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(blocks) || stop.Load() {
					return
				}
				r := &results[i]
				if r.err = f.ctx.Err(); r.err == nil {
					r.hits, r.err = sc.Search(blocks[i].at(snap), q, f.limit)
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
