package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// Totals implements store.Events.
func (s *Store) Totals(ctx context.Context) (store.Totals, error) {
	var t store.Totals
	err := s.lookupDB.QueryRowContext(ctx, `SELECT stored, duplicate, conflicting, matches, counters.events, raw, page_count * page_size,
		count(seq), ifnull(sum(damaged_blocks.events), 0)
		FROM counters, pragma_page_count, pragma_page_size LEFT JOIN damaged_blocks ON deleted = 0 GROUP BY id`).
		Scan(&t.Stored, &t.Duplicate, &t.Conflicting, &t.Matches, &t.Events, &t.RawBytes, &t.DiskBytes, &t.DamagedBlocks, &t.DamagedEvents)
	if err != nil {
		return store.Totals{}, fmt.Errorf("read totals: %w", err)
	}
	return t, nil
}

// Activity implements store.Events.
func (s *Store) Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error) {
	lo, hi := store.TimeRangeMicros(since, until)
	var out []store.MinuteCounts
	err := s.query(ctx, "SELECT minute, kind, name, n FROM rollup WHERE minute >= ? AND minute < ? ORDER BY minute", []any{lo, hi}, func(r *sql.Rows) (bool, error) {
		var at, n int64
		var kind int
		var name string
		err := r.Scan(&at, &kind, &name, &n)
		start := block.FromMicros(at)
		if len(out) == 0 || !out[len(out)-1].Start.Equal(start) {
			out = append(out, store.MinuteCounts{Start: start, Events: make(map[string]int64), Alerts: make(map[string]int64)})
		}
		m := &out[len(out)-1]
		if kind == rollupEvents {
			m.Events[name] = n
		} else {
			m.Alerts[name] = n
		}
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read activity: %w", err)
	}
	return out, nil
}
