package sqlitestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

const (
	// Fresh blocks with fewer than smallBlockEvents events are merged into larger
	// fresh ones, maxSmallBlocksPerMerge at a time: batches of single events must not
	// leave a block each.
	smallBlockEvents       = 64
	maxSmallBlocksPerMerge = 32

	// maxUnindexedBytes is how many bytes of events may wait for their index before
	// Save is slowed down to the speed of indexing. A search reads them whole.
	maxUnindexedBytes = 32 << 20

	batchIDTrimInterval = time.Hour       // between deletions of old batch ids
	idleCheckpointDelay = 2 * time.Second // without a save, before the write-ahead log is emptied
)

// A compactionBacklog counts what is to be merged and indexed.
type compactionBacklog struct {
	wake chan struct{} // receives when there is enough to merge

	mu      sync.Mutex // guards what follows
	enabled bool
	bytes   int64         // of events in fresh blocks
	events  int64         // in fresh blocks
	blocks  int64         // fresh ones
	drained chan struct{} // closed when bytes has decreased
}

func newCompactionBacklog(enabled bool) *compactionBacklog {
	return &compactionBacklog{wake: make(chan struct{}, 1), drained: make(chan struct{}), enabled: enabled}
}

// add counts blocks that were saved, and wakes compactInBackground if there are enough of
// them.
func (b *compactionBacklog) add(blocks []block.Encoded, fullBlockEvents int) {
	b.mu.Lock()
	for i := range blocks {
		b.bytes += blocks[i].RawBytes
		b.events += int64(blocks[i].EventCount)
		b.blocks++
	}
	enough := b.events >= int64(fullBlockEvents) || b.bytes >= maxBlockRawBytes || b.blocks >= maxSmallBlocksPerMerge
	b.mu.Unlock()
	if enough {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// set replaces the counts.
func (b *compactionBacklog) set(bytes, events, blocks int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes, b.events, b.blocks = bytes, events, blocks
	close(b.drained)
	b.drained = make(chan struct{})
}

// waitWhileTooLarge waits while the backlog is too large.
func (b *compactionBacklog) waitWhileTooLarge(ctx, quit context.Context) {
	for {
		b.mu.Lock()
		ok, drained := !b.enabled || b.bytes <= maxUnindexedBytes, b.drained
		b.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-drained:
		case <-ctx.Done():
			return
		case <-quit.Done():
			return
		}
	}
}

// compactInBackground merges and indexes blocks until the store closes.
func (s *Store) compactInBackground() {
	housekeeping := time.NewTicker(batchIDTrimInterval)
	defer housekeeping.Stop()
	idle := time.NewTicker(idleCheckpointDelay)
	defer idle.Stop()
	written := false // since the log was emptied
	for {
		if err := s.compactAll(s.quit, false); err != nil && s.quit.Err() == nil {
			s.log.Error("compaction failed", "error", err)
			s.backlog.set(0, 0, 0) // saves must not wait for a compaction that fails
		}
		select {
		case <-s.backlog.wake:
			written = true
			idle.Reset(idleCheckpointDelay)
		case <-idle.C:
			if written {
				// The error is not logged: the next write meets it too.
				emptied, _ := s.writer.checkpoint(s.quit)
				written = !emptied
			}
		case <-housekeeping.C:
			if err := s.deleteOldBatchIDs(s.quit, s.options.Now()); err != nil && s.quit.Err() == nil {
				s.log.Error("deleting old batch ids failed", "error", err)
			}
		case <-s.quit.Done():
			return
		}
	}
}

// Compact merges and indexes everything that was saved, however little it is, so
// that searches are as fast as they can be. Blocks that are not full stay so.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.compactAll(ctx, true); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// errBlocksChanged means that another process has merged or deleted the blocks.
var errBlocksChanged = errors.New("blocks have changed")

func (s *Store) compactAll(ctx context.Context, indexPartial bool) error {
	for ctx.Err() == nil {
		more, err := s.compactOnce(ctx, indexPartial)
		if errors.Is(err, errBlocksChanged) {
			continue
		}
		if err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

// compactOnce does one merge; it reports false if there was nothing to merge.
func (s *Store) compactOnce(ctx context.Context, indexPartial bool) (bool, error) {
	group, in, index, err := s.nextMerge(ctx, indexPartial)
	if err != nil || len(group) == 0 {
		return false, err
	}
	b := s.builders.getOrCreate()
	defer s.builders.put(b)
	var merged block.Encoded
	if index {
		merged = b.EncodeIndexed(in)
	} else {
		merged = b.EncodeMerged(in)
	}
	err = s.replaceBlocks(ctx, group, &merged)
	if isDamage(err) {
		s.log.Error("damage beside fresh blocks of events keeps them from being indexed", "block", group[0].seq, "error", err)
		s.damaged.setUnmergeable(group)
		err = nil
	}
	return true, err
}

// nextMerge chooses and reads blocks to merge, and says whether to index them. It
// leaves no snapshot open: building takes a while, in which an open snapshot
// would keep the write-ahead log from being reused.
func (s *Store) nextMerge(ctx context.Context, indexPartial bool) (group []*blockRow, in *block.MergeInput, index bool, err error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	defer snap.close()
	fresh, err := snap.listBlocks(ctx, "indexed = 0 ORDER BY seq LIMIT 4096")
	if err != nil {
		return nil, nil, false, err
	}
	fresh = s.damaged.mergeable(fresh)
	var bytes, events int64
	for _, b := range fresh {
		bytes += b.RawBytes
		events += int64(b.EventCount)
	}
	s.backlog.set(bytes, events, int64(len(fresh)))
	group, index = s.planMerge(fresh, indexPartial)
	if len(group) > 0 {
		if in, err = snap.readBlocks(group); isDamage(err) {
			err = cmp.Or(s.setAsideUnreadable(snap, group), errBlocksChanged)
		}
	}
	return group, in, index, err
}

// replaceBlocks replaces blocks by one, or deletes them if that is nil.
func (s *Store) replaceBlocks(ctx context.Context, old []*blockRow, b *block.Encoded) error {
	return s.writer.transact(ctx, func(t *tx) error {
		for _, o := range old {
			if deleted, err := t.deleteBlock(o); err != nil {
				return err
			} else if !deleted {
				return errBlocksChanged
			}
		}
		if b == nil {
			return nil
		}
		return t.insertBlock(old[0].seq, b)
	})
}

// planMerge chooses the fresh blocks to merge next, and says whether to index
// them. Blocks with consecutive sequence numbers are indexed when they make a
// full block or cannot become more; with indexPartial, also those that could.
func (s *Store) planMerge(fresh []*blockRow, indexPartial bool) (group []*blockRow, index bool) {
	n, bytes := 0, int64(0)
	for i, b := range fresh {
		if i > 0 && fresh[i-1].seq+fresh[i-1].Span != b.seq {
			return group, true
		}
		group = append(group, b)
		n += b.EventCount
		bytes += b.RawBytes
		if n >= s.options.BlockEvents || bytes >= maxBlockRawBytes {
			return group, true
		}
	}
	if indexPartial {
		return group, true
	}
	var small []*blockRow
	for _, b := range fresh {
		if b.EventCount >= smallBlockEvents {
			small = nil
			continue
		}
		if small = append(small, b); len(small) == maxSmallBlocksPerMerge {
			return small, false
		}
	}
	return nil, false
}

// deleteOldBatchIDs deletes the ids of batches that are too old to be delivered
// again.
func (s *Store) deleteOldBatchIDs(ctx context.Context, now time.Time) error {
	_, err := s.exec(ctx, "DELETE FROM batches WHERE at < ?", block.Micros(now.Add(-batchIDRetention)))
	return err
}
