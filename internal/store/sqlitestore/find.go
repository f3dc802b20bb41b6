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
	page, err := s.find(ctx, q)
	if err != nil {
		return store.EventPage{}, fmt.Errorf("find events: %w", err)
	}
	return page, nil
}

func (s *Store) find(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
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
	f := &finder{s: s, ctx: ctx, where: q.Where, since: since, until: until, below: below, want: limit + 1}
	if err := f.run(); err != nil {
		return store.EventPage{}, err
	}
	page := store.EventPage{Events: make([]picket.Event, 0, min(len(f.hits), limit))}
	for i, h := range f.hits {
		if i == limit {
			page.Next = formatCursor(cursorEvents, f.hits[limit-1].seq)
			break
		}
		page.Events = append(page.Events, h.ev)
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
	lo := micros(since)
	if !since.IsZero() && since.Nanosecond()%1000 != 0 {
		lo++
	}
	return lo, hi
}

// A finder is one call of SearchEvents. It walks the blocks from the newest, the first
// alone, which is often enough, then as many at once as there are cores.
type finder struct {
	s            *Store
	ctx          context.Context
	where        store.Expr
	since, until int64
	below        int64
	want         int

	hits []hit
}

func (f *finder) run() error {
	snap, err := f.s.snapshot(f.ctx)
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
	for hi := f.below; len(f.hits) < f.want; {
		// A block without events past f.until or before f.since is not read at all.
		blocks, err := snap.blocks(f.ctx, "seq < ? AND max_time >= ? AND min_time < ? ORDER BY seq DESC LIMIT ?", hi, f.since, f.until, blockPage)
		if err != nil {
			return err
		}
		if len(blocks) == 0 {
			return nil
		}
		hi = blocks[len(blocks)-1].seq
		if first {
			first = false
			if err := f.scan([]*snapshot{snap}, blocks[:1]); err != nil {
				return err
			}
			blocks = blocks[1:]
			if len(blocks) > 1 && len(f.hits) < f.want {
				others = f.more(snap, min(runtime.GOMAXPROCS(0), len(blocks))-1)
			}
		}
		if err := f.scan(append([]*snapshot{snap}, others...), blocks); err != nil {
			return err
		}
	}
	return nil
}

// more opens further snapshots that see the same blocks. Where that can't be
// had, because blocks are being merged or connections are short, the search
// does with fewer.
func (f *finder) more(first *snapshot, n int) []*snapshot {
	var out []*snapshot
	for range n {
		if f.s.read.Stats().InUse >= f.s.read.Stats().MaxOpenConnections/2 {
			break
		}
		snap, err := f.s.snapshot(f.ctx)
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

// scan searches blocks, newest first, with a goroutine for each snapshot.
func (f *finder) scan(snaps []*snapshot, blocks []*block) error {
	type result struct {
		hits []hit
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
			sc := f.s.scanners.get()
			defer f.s.scanners.put(sc)
			q := &search{root: compile(f.where), since: f.since, until: f.until, below: f.below}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(blocks) || stop.Load() {
					return
				}
				r := &results[i]
				if r.err = f.ctx.Err(); r.err == nil {
					r.hits, r.err = sc.scan(blocks[i].at(snap), q, f.want)
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
		if len(f.hits) >= f.want {
			f.hits = f.hits[:f.want]
			return nil
		}
	}
	return nil
}
