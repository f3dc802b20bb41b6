package sqlitestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

const (
	maxBlocksPerPruneStep = 16  // deleted in one transaction, so that saves are not held up
	vacuumPagesPerStep    = 512 // returned to the file system in one transaction
	shrinkFreePageDivisor = 8   // the file is shrunk if at least one page in so many is free
	rollupRetention       = 400 * 24 * time.Hour
)

// PruneEvents implements store.Events. It deletes the oldest blocks as a whole; by
// age, it rewrites a block of which only some events are too old. The space is
// returned to the file system.
func (s *Store) PruneEvents(ctx context.Context, r store.Retention) (int64, error) {
	deleted, err := s.pruneEvents(ctx, r)
	if err != nil {
		return deleted, fmt.Errorf("prune: %w", err)
	}
	return deleted, nil
}

func (s *Store) pruneEvents(ctx context.Context, r store.Retention) (deleted int64, err error) {
	if r.MaxAge > 0 {
		_, before := store.TimeRangeMicros(time.Time{}, r.Now.Add(-r.MaxAge))
		n, err := s.pruneReceivedBefore(ctx, before)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	if r.MaxBytes > 0 {
		n, err := s.pruneToSize(ctx, r.MaxBytes)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	_, err = s.exec(ctx, "DELETE FROM rollup WHERE minute < ?", block.Micros(r.Now)-rollupRetention.Microseconds())
	if err := errors.Join(err, s.deleteOldBatchIDs(ctx, r.Now)); err != nil || deleted == 0 {
		return deleted, err
	}
	if err := s.shrinkFile(ctx); !isDamage(err) { // the damage is reported where it matters
		return deleted, err
	}
	return deleted, nil
}

// pruneReceivedBefore deletes the events received before a time.
func (s *Store) pruneReceivedBefore(ctx context.Context, before int64) (int64, error) {
	deleted := int64(0)
	for {
		n, err := s.deleteBlocks(ctx, "max_recv < ? ORDER BY seq LIMIT ?", before, maxBlocksPerPruneStep)
		deleted += n
		if err != nil {
			return deleted, err
		}
		if n == 0 {
			break
		}
	}
	for {
		n, err := s.trimBlock(ctx, before)
		deleted += n
		if errors.Is(err, errBlocksChanged) {
			continue
		}
		if err != nil || n == 0 {
			return deleted, err
		}
	}
}

// pruneToSize deletes the oldest blocks until the rest takes at most limit.
func (s *Store) pruneToSize(ctx context.Context, limit int64) (int64, error) {
	deleted := int64(0)
	for {
		var size int64
		if err := s.readDB.QueryRowContext(ctx, "SELECT size FROM counters").Scan(&size); err != nil {
			return deleted, err
		}
		if size <= limit {
			return deleted, nil
		}
		n, err := s.deleteBlocks(ctx, `seq IN (SELECT seq FROM
			(SELECT seq, sum(size) OVER (ORDER BY seq) - size AS before FROM (SELECT seq, size FROM blocks WHERE seq NOT IN (SELECT seq FROM damaged_blocks) ORDER BY seq LIMIT ?))
			WHERE before < ?) ORDER BY seq`, maxBlocksPerPruneStep, size-limit)
		deleted += n
		if err != nil || n == 0 {
			return deleted, err
		}
	}
}

// deleteBlocks deletes the blocks for which a condition holds and returns how
// many events they had.
func (s *Store) deleteBlocks(ctx context.Context, where string, args ...any) (int64, error) {
	for {
		blocks, err := s.listBlocks(ctx, where, args...)
		if err != nil || len(blocks) == 0 {
			return 0, err
		}
		err = s.replaceBlocks(ctx, blocks, nil)
		if errors.Is(err, errBlocksChanged) {
			continue
		}
		if isDamage(err) {
			return s.deletePast(ctx, blocks)
		}
		if err != nil {
			return 0, err
		}
		return countEvents(blocks), nil
	}
}

func countEvents(blocks []*blockRow) (n int64) {
	for _, b := range blocks {
		n += int64(b.EventCount)
	}
	return n
}

func (s *Store) listBlocks(ctx context.Context, where string, args ...any) ([]*blockRow, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.close()
	return snap.listBlocks(ctx, where, args...)
}

// trimBlock finds a block with events received on both sides of a time, and
// rewrites it without the older ones. It returns how many those were.
func (s *Store) trimBlock(ctx context.Context, receivedBefore int64) (trimmed int64, err error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer snap.close()
	blocks, err := snap.listBlocks(ctx, "min_recv < ? ORDER BY seq LIMIT 1", receivedBefore)
	if err != nil || len(blocks) == 0 {
		return 0, err
	}
	old := blocks[0]
	in, err := snap.readBlocks(blocks)
	if isDamage(err) {
		return 0, cmp.Or(s.setAsideUnreadable(snap, blocks), errBlocksChanged)
	}
	if err != nil {
		return 0, err
	}
	kept, first := in.KeepSince(receivedBefore)
	if kept == 0 { // saved since the whole blocks were deleted
		return int64(old.EventCount), s.replaceBlocks(ctx, blocks, nil)
	}
	b := s.builders.getOrCreate()
	defer s.builders.put(b)
	fresh := b.EncodeMerged(in)
	err = s.writer.transact(ctx, func(t *tx) error {
		if deleted, err := t.deleteBlock(old); err != nil {
			return err
		} else if !deleted {
			return errBlocksChanged
		}
		return t.insertBlock(first, &fresh)
	})
	if err != nil {
		return 0, err
	}
	s.backlog.add([]block.Encoded{fresh}, 0)
	return int64(old.EventCount - kept), nil
}

// shrinkFile returns free pages to the file system if there are many.
func (s *Store) shrinkFile(ctx context.Context) error {
	free, pages, err := s.freePages(ctx)
	if err != nil || free*shrinkFreePageDivisor < pages {
		return err
	}
	for free > 0 && ctx.Err() == nil {
		if err := s.writer.transact(ctx, (*tx).vacuum); err != nil {
			return fmt.Errorf("free pages: %w", err)
		}
		before := free
		if free, _, err = s.freePages(ctx); err != nil {
			return err
		}
		if free >= before { // saves have used more
			break
		}
	}
	_, err = s.writer.checkpoint(ctx)
	return errors.Join(ctx.Err(), err)
}

func (s *Store) freePages(ctx context.Context) (free, pages int64, err error) {
	err = s.readDB.QueryRowContext(ctx, "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count").Scan(&free, &pages)
	if err != nil {
		return 0, 0, fmt.Errorf("count free pages: %w", err)
	}
	return free, pages, nil
}

func (t *tx) vacuum() error {
	rows, err := t.writer.query(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPagesPerStep))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() { // each step frees a page
	}
	return rows.Err()
}
