package sqlitestore

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// CountEvents implements store.Events.
func (s *Store) CountEvents(ctx context.Context, q store.EventQuery, fields []string) (*store.EventCounts, error) {
	counts := store.NewEventCounts(fields)
	if err := s.countEvents(ctx, q, counts); err != nil {
		return nil, fmt.Errorf("count events: %w", err)
	}
	return counts, nil
}

func (s *Store) countEvents(ctx context.Context, q store.EventQuery, counts *store.EventCounts) error {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.close()
	searcher := s.searchers.getOrCreate()
	defer s.searchers.put(searcher)
	since, until := store.TimeRangeMicros(q.Since, q.Until)
	query := block.NewQuery(q.Where, since, until, maxSeq)
	for end := int64(maxSeq); ; {
		blocks, err := snap.listBlocks(ctx, "seq < ? AND max_time >= ? AND min_time < ? ORDER BY seq DESC LIMIT ?", end, since, until, blockRowsPerPage)
		if err != nil || len(blocks) == 0 {
			return err
		}
		for _, b := range blocks {
			if err := searcher.Count(ctx, snap.openBlock(b), query, counts); err != nil {
				return err
			}
			end = b.seq
		}
	}
}
