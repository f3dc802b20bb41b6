package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/picket-edr/picket/internal/store"
)

const (
	blocksPerPrune  = 16  // deleted in one transaction, so that Saves get their turn
	vacuumPages     = 512 // given back to the file system in one transaction
	minFreeShare    = 8   // of the file: less free space than one part in that many stays for Saves to use
	rollupRetention = 400 * 24 * 60 * 60 * 1e6
)

// Prune implements store.Events. The rows of the oldest blocks go, and a block
// that only some of whose events are too old is written anew with the others.
// By size, only whole blocks go. The space is given back to the file system.
func (s *Store) Prune(ctx context.Context, r store.Retention) (int64, error) {
	gone, err := s.prune(ctx, r)
	if err != nil {
		return gone, fmt.Errorf("prune: %w", err)
	}
	return gone, nil
}

func (s *Store) prune(ctx context.Context, r store.Retention) (int64, error) {
	gone := int64(0)
	if r.MaxAge > 0 {
		_, before := bounds(time.Time{}, r.Now.Add(-r.MaxAge))
		n, err := s.pruneAge(ctx, before)
		gone += n
		if err != nil {
			return gone, err
		}
	}
	if r.MaxBytes > 0 {
		n, err := s.pruneBytes(ctx, r.MaxBytes)
		gone += n
		if err != nil {
			return gone, err
		}
	}
	err := s.writer.transact(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM rollup WHERE minute < ?", Micros(r.Now)-int64(rollupRetention))
		return err
	})
	if err := errors.Join(err, s.deleteOldBatchIDs(ctx, r.Now)); err != nil || gone == 0 {
		return gone, err
	}
	return gone, s.shrinkFile(ctx)
}

// pruneAge deletes the events received before a time.
func (s *Store) pruneAge(ctx context.Context, before int64) (int64, error) {
	gone := int64(0)
	for {
		n, err := s.deleteBlocks(ctx, "max_recv < ? ORDER BY seq LIMIT ?", before, blocksPerPrune)
		gone += n
		if err != nil {
			return gone, err
		}
		if n == 0 {
			break
		}
	}
	for {
		n, err := s.trimBlock(ctx, before)
		gone += n
		if errors.Is(err, errBlocksChanged) {
			continue
		}
		if err != nil || n == 0 {
			return gone, err
		}
	}
}

// pruneBytes deletes the oldest blocks until the rest takes at most limit.
func (s *Store) pruneBytes(ctx context.Context, limit int64) (int64, error) {
	gone := int64(0)
	for {
		var size int64
		if err := s.readDB.QueryRowContext(ctx, "SELECT size FROM counters").Scan(&size); err != nil {
			return gone, err
		}
		if size <= limit {
			return gone, nil
		}
		n, err := s.deleteBlocks(ctx, `seq IN (SELECT seq FROM
			(SELECT seq, sum(size) OVER (ORDER BY seq) - size AS before FROM (SELECT seq, size FROM blocks ORDER BY seq LIMIT ?))
			WHERE before < ?) ORDER BY seq`, blocksPerPrune, size-limit)
		gone += n
		if err != nil || n == 0 {
			return gone, err
		}
	}
}

// deleteBlocks deletes the blocks that a WHERE selects and returns how many
// events they had. Blocks that were merged meanwhile are left for the next call.
func (s *Store) deleteBlocks(ctx context.Context, where string, args ...any) (int64, error) {
	for {
		snap, err := s.snapshot(ctx)
		if err != nil {
			return 0, err
		}
		blocks, err := snap.listBlocks(ctx, where, args...)
		snap.close()
		if err != nil || len(blocks) == 0 {
			return 0, err
		}
		gone := int64(0)
		for _, b := range blocks {
			gone += int64(b.n)
		}
		err = s.replaceBlocks(ctx, blocks, nil)
		if errors.Is(err, errBlocksChanged) {
			continue
		}
		if err != nil {
			gone = 0
		}
		return gone, err
	}
}

// trimBlock finds a block with events on both sides of a time of receipt and
// writes it anew without the older ones. It returns how many those were.
func (s *Store) trimBlock(ctx context.Context, before int64) (int64, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer snap.close()
	blocks, err := snap.listBlocks(ctx, "min_recv < ? ORDER BY seq LIMIT 1", before)
	if err != nil || len(blocks) == 0 {
		return 0, err
	}
	old := blocks[0]
	d, err := LoadMergeInput(blocks)
	if err != nil {
		return 0, err
	}
	m, err := old.meta()
	if err != nil {
		return 0, err
	}
	evs := d.eventsWithFields()
	kept := evs[:0]
	var offset []int64
	first := int64(math.MaxInt64)
	for row := range evs {
		if m.received[row] >= before {
			seq := m.seq(old.seq, row)
			first = min(first, seq)
			kept = append(kept, evs[row])
			offset = append(offset, seq-first)
		}
	}
	b := s.builders.get()
	defer s.builders.put(b)
	fresh := b.Fresh(kept, offset)
	err = s.writer.transact(ctx, func(t *tx) error {
		if there, err := t.deleteBlock(old); err != nil {
			return err
		} else if !there {
			return errBlocksChanged
		}
		return t.insertBlock(first, &fresh)
	})
	if err != nil {
		return 0, err
	}
	s.compactor.recordPending([]Encoded{fresh}, 0)
	return int64(old.n - len(kept)), nil
}

// shrinkFile gives free pages back to the file system, if there are many.
func (s *Store) shrinkFile(ctx context.Context) error {
	free, pages, err := s.freePages(ctx)
	if err != nil || free*minFreeShare < pages {
		return err
	}
	for free > 0 && ctx.Err() == nil {
		if err := s.writer.transact(ctx, (*tx).vacuum); err != nil {
			return fmt.Errorf("free pages: %w", err)
		}
		was := free
		if free, _, err = s.freePages(ctx); err != nil {
			return err
		}
		if free >= was { // Saves have used more
			break
		}
	}
	return errors.Join(ctx.Err(), s.writer.checkpoint(ctx))
}

func (s *Store) freePages(ctx context.Context) (free, pages int64, err error) {
	err = s.readDB.QueryRowContext(ctx, "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count").Scan(&free, &pages)
	if err != nil {
		return 0, 0, fmt.Errorf("count free pages: %w", err)
	}
	return free, pages, nil
}

func (t *tx) vacuum() error {
	rows, err := t.writer.query(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() { // each step frees a page
	}
	return rows.Err()
}
