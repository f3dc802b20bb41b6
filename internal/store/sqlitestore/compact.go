package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// smallEvents is the size below which fresh blocks are merged into larger
	// fresh ones, once there are smallBlocks of them: posts of single events
	// must not leave a block each.
	smallEvents = 64
	smallBlocks = 32

	// backlogMax is how many bytes of events may wait for their index before
	// Save is slowed down to what indexing can do. A search reads them whole.
	backlogMax = 32 << 20

	housekeeping = time.Hour       // between prunings of what has no other
	resting      = 2 * time.Second // without a save, before the write-ahead log is emptied
)

// A compactor knows how much there is to do.
type compactor struct {
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	on     bool
	bytes  int64         // of events in fresh blocks
	events int64         // in them
	blocks int64         // of them
	moved  chan struct{} // closed when bytes fell
}

func newCompactor(on bool) *compactor {
	return &compactor{wake: make(chan struct{}, 1), moved: make(chan struct{}), on: on}
}

// note adds blocks that were saved, and wakes the compactor if they are enough.
func (c *compactor) note(blocks []built, full int) {
	c.mu.Lock()
	for i := range blocks {
		c.bytes += blocks[i].raw
		c.events += int64(blocks[i].n)
		c.blocks++
	}
	enough := c.events >= int64(full) || c.bytes >= blockBytes || c.blocks >= smallBlocks
	c.mu.Unlock()
	if enough {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// set replaces what is known by what was counted.
func (c *compactor) set(bytes, events, blocks int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes, c.events, c.blocks = bytes, events, blocks
	close(c.moved)
	c.moved = make(chan struct{})
}

// pace waits while the backlog is too large.
func (c *compactor) pace(ctx, quit context.Context) {
	for {
		c.mu.Lock()
		ok, moved := !c.on || c.bytes <= backlogMax, c.moved
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		case <-quit.Done():
			return
		}
	}
}

// background merges and indexes blocks until the store closes.
func (s *Store) background() {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	rest := time.NewTicker(resting)
	defer rest.Stop()
	written := false // since the log was emptied
	for {
		if err := s.compactAll(s.quit, false); err != nil && s.quit.Err() == nil {
			s.log.Error("merge blocks of events", "err", err)
			s.compact.set(0, 0, 0) // nobody is to wait for what does not work
		}
		select {
		case <-s.compact.wake:
			written = true
			rest.Reset(resting)
		case <-rest.C:
			if written {
				// An error is not worth a word: the next write meets it too.
				written = s.w.checkpoint(s.quit) != nil
			}
		case <-tick.C:
			if err := s.forget(s.quit, s.opt.Now()); err != nil && s.quit.Err() == nil {
				s.log.Error("forget batch ids", "err", err)
			}
		case <-s.quit.Done():
			return
		}
	}
}

// Compact merges and indexes all that was saved, however little it is. Searches
// are fastest then; blocks that are not full stay so.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.compactAll(ctx, true); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// errMoved says that another process merged or deleted the blocks first.
var errMoved = errors.New("blocks have changed")

func (s *Store) compactAll(ctx context.Context, all bool) error {
	for ctx.Err() == nil {
		more, err := s.compactOnce(ctx, all)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

// compactOnce does the next thing there is to do, and reports false if there is none.
func (s *Store) compactOnce(ctx context.Context, all bool) (bool, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		if snap != nil {
			snap.close()
		}
	}()
	fresh, err := snap.blocks(ctx, "indexed = 0 ORDER BY seq LIMIT 4096")
	if err != nil {
		return false, err
	}
	var bytes, events int64
	for _, b := range fresh {
		bytes += b.raw
		events += int64(b.n)
	}
	s.compact.set(bytes, events, int64(len(fresh)))
	group, index := s.plan(fresh, all)
	if len(group) == 0 {
		return false, nil
	}
	d, err := loadDraft(group)
	if err != nil {
		return false, err
	}
	snap.close() // the build takes a while, and would keep the WAL from being reused
	snap = nil
	b := s.builders.get()
	defer s.builders.put(b)
	var merged built
	if index {
		d.cut()
		merged = b.indexed(d)
	} else {
		merged = b.fresh(d.withFields(), d.offset)
	}
	return true, s.replace(ctx, group, &merged)
}

// replace puts one block, if any, in the place of others.
func (s *Store) replace(ctx context.Context, old []*block, b *built) error {
	return s.w.do(ctx, func(t *tx) error {
		for _, o := range old {
			if there, err := t.dropBlock(o); err != nil {
				return err
			} else if !there {
				return errMoved
			}
		}
		if b == nil {
			return nil
		}
		return t.putBlock(old[0].seq, b)
	})
}

// plan chooses the fresh blocks to merge next, and whether to index them. A run
// of neighbours is indexed when it makes a full block, or can't grow any more.
func (s *Store) plan(fresh []*block, all bool) (group []*block, index bool) {
	n, bytes := 0, int64(0)
	for i, b := range fresh {
		if i > 0 && fresh[i-1].seq+fresh[i-1].span != b.seq {
			return group, true
		}
		group = append(group, b)
		n += b.n
		bytes += b.raw
		if n >= s.opt.BlockEvents || bytes >= blockBytes {
			return group, true
		}
	}
	if all {
		return group, true
	}
	var small []*block
	for _, b := range fresh {
		if b.n >= smallEvents {
			small = nil
			continue
		}
		if small = append(small, b); len(small) == smallBlocks {
			return small, false
		}
	}
	return nil, false
}

// forget deletes the ids of batches that are too old to come again.
func (s *Store) forget(ctx context.Context, now time.Time) error {
	_, err := s.change(ctx, "DELETE FROM batches WHERE at < ?", micros(now.Add(-batchMemory)))
	return err
}
