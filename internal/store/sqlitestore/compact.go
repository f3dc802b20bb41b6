package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// smallBlockEvents is the size below which fresh blocks are merged into larger
	// fresh ones, once there are smallBlockGroup of them: posts of single events
	// must not leave a block each.
	smallBlockEvents = 64
	smallBlockGroup  = 32

	// maxBacklogBytes is how many bytes of events may wait for their index before
	// Save is slowed down to what indexing can do. A search reads them whole.
	maxBacklogBytes = 32 << 20

	housekeepingInterval = time.Hour       // between prunings of what has no other
	idleCheckpointDelay  = 2 * time.Second // without a save, before the write-ahead log is emptied
)

// A compactor knows how much there is to do.
type compactor struct {
	wake chan struct{}

	mu      sync.Mutex // guards what follows
	enabled bool
	bytes   int64         // of events in fresh blocks
	events  int64         // in them
	blocks  int64         // of them
	drained chan struct{} // closed when bytes fell
}

func newCompactor(on bool) *compactor {
	return &compactor{wake: make(chan struct{}, 1), drained: make(chan struct{}), enabled: on}
}

// recordPending adds blocks that were saved, and wakes the compactor if they are enough.
func (c *compactor) recordPending(blocks []Encoded, full int) {
	c.mu.Lock()
	for i := range blocks {
		c.bytes += blocks[i].RawBytes
		c.events += int64(blocks[i].EventCount)
		c.blocks++
	}
	enough := c.events >= int64(full) || c.bytes >= blockBytes || c.blocks >= smallBlockGroup
	c.mu.Unlock()
	if enough {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// setPending replaces what is known by what was counted.
func (c *compactor) setPending(bytes, events, blocks int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes, c.events, c.blocks = bytes, events, blocks
	close(c.drained)
	c.drained = make(chan struct{})
}

// throttle waits while the backlog is too large.
func (c *compactor) throttle(ctx, quit context.Context) {
	for {
		c.mu.Lock()
		ok, moved := !c.enabled || c.bytes <= maxBacklogBytes, c.drained
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

// runBackground merges and indexes blocks until the store closes.
func (s *Store) runBackground() {
	tick := time.NewTicker(housekeepingInterval)
	defer tick.Stop()
	rest := time.NewTicker(idleCheckpointDelay)
	defer rest.Stop()
	written := false // since the log was emptied
	for {
		if err := s.compactAll(s.quit, false); err != nil && s.quit.Err() == nil {
			s.log.Error("merge blocks of events", "err", err)
			s.compactor.setPending(0, 0, 0) // nobody is to wait for what does not work
		}
		select {
		case <-s.compactor.wake:
			written = true
			rest.Reset(idleCheckpointDelay)
		case <-rest.C:
			if written {
				// An error is not worth a word: the next write meets it too.
				written = s.writer.checkpoint(s.quit) != nil
			}
		case <-tick.C:
			if err := s.deleteOldBatchIDs(s.quit, s.options.Now()); err != nil && s.quit.Err() == nil {
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

// errBlocksChanged says that another process merged or deleted the blocks first.
var errBlocksChanged = errors.New("blocks have changed")

func (s *Store) compactAll(ctx context.Context, all bool) error {
	for ctx.Err() == nil {
		more, err := s.compactOnce(ctx, all)
		if errors.Is(err, errBlocksChanged) {
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
	fresh, err := snap.listBlocks(ctx, "indexed = 0 ORDER BY seq LIMIT 4096")
	if err != nil {
		return false, err
	}
	var bytes, events int64
	for _, b := range fresh {
		bytes += b.raw
		events += int64(b.n)
	}
	s.compactor.setPending(bytes, events, int64(len(fresh)))
	group, index := s.planMerge(fresh, all)
	if len(group) == 0 {
		return false, nil
	}
	d, err := LoadMergeInput(group)
	if err != nil {
		return false, err
	}
	snap.close() // the build takes a while, and would keep the WAL from being reused
	snap = nil
	b := s.builders.get()
	defer s.builders.put(b)
	var merged Encoded
	if index {
		d.repackFrames()
		merged = b.Indexed(d)
	} else {
		merged = b.Fresh(d.eventsWithFields(), d.offsets)
	}
	return true, s.replaceBlocks(ctx, group, &merged)
}

// replaceBlocks puts one block, if any, in the place of others.
func (s *Store) replaceBlocks(ctx context.Context, old []*block, b *Encoded) error {
	return s.writer.transact(ctx, func(t *tx) error {
		for _, o := range old {
			if there, err := t.deleteBlock(o); err != nil {
				return err
			} else if !there {
				return errBlocksChanged
			}
		}
		if b == nil {
			return nil
		}
		return t.insertBlock(old[0].seq, b)
	})
}

// planMerge chooses the fresh blocks to merge next, and whether to index them. A run
// of neighbours is indexed when it makes a full block, or can't grow any more.
func (s *Store) planMerge(fresh []*block, all bool) (group []*block, index bool) {
	n, bytes := 0, int64(0)
	for i, b := range fresh {
		if i > 0 && fresh[i-1].seq+fresh[i-1].span != b.seq {
			return group, true
		}
		group = append(group, b)
		n += b.n
		bytes += b.raw
		if n >= s.options.BlockEvents || bytes >= blockBytes {
			return group, true
		}
	}
	if all {
		return group, true
	}
	var small []*block
	for _, b := range fresh {
		if b.n >= smallBlockEvents {
			small = nil
			continue
		}
		if small = append(small, b); len(small) == smallBlockGroup {
			return small, false
		}
	}
	return nil, false
}

// deleteOldBatchIDs deletes the ids of batches that are too old to come again.
func (s *Store) deleteOldBatchIDs(ctx context.Context, now time.Time) error {
	_, err := s.exec(ctx, "DELETE FROM batches WHERE at < ?", Micros(now.Add(-batchIDRetention)))
	return err
}
