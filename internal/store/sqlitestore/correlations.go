package sqlitestore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
)

const correlationsSchema = `
-- What Save was given for correlations, a row a batch: zstd of JSON.
CREATE TABLE observations (mark INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX observations_at ON observations (at);
-- One row: how far the follower has come, and who it is.
CREATE TABLE follower (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	mark INTEGER NOT NULL DEFAULT 0, state BLOB, holder TEXT NOT NULL DEFAULT '', until INTEGER NOT NULL DEFAULT 0
);
INSERT INTO follower (id) VALUES (1);
`

// observe takes from the matches what is for correlations, and leaves what is
// for alerts.
func (b *savingBatch) observe() error {
	var seen []store.Observation
	var rest []picket.Match
	for i := range b.matches {
		m := &b.matches[i]
		if m.Observed != nil {
			seen = append(seen, store.Observation{RuleID: m.RuleID, EventID: m.EventID, AgentID: m.AgentID, Host: m.Host, Time: m.Time, Fields: m.Observed})
		}
		if !m.Silent {
			rest = append(rest, *m)
		}
	}
	if seen == nil {
		return nil
	}
	b.matches = rest
	data, err := json.Marshal(seen)
	if err != nil {
		return err
	}
	b.observed = zst.Fast(nil, data)
	return nil
}

// Observations implements store.Correlations.
func (s *Store) Observations(ctx context.Context, after int64, limit int) ([]store.Observation, int64, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT mark, at, data FROM observations WHERE mark > ? ORDER BY mark", after)
	if err != nil {
		return nil, 0, fmt.Errorf("read observations: %w", err)
	}
	defer rows.Close()
	var page []store.Observation
	for len(page) < limit && rows.Next() {
		var at int64
		var data []byte
		if err := rows.Scan(&after, &at, &data); err != nil {
			return nil, 0, fmt.Errorf("read observations: %w", err)
		}
		text, err := zst.Decode(nil, data)
		if err != nil {
			return nil, 0, fmt.Errorf("read observations %d: %w", after, err)
		}
		var seen []store.Observation
		if err := json.Unmarshal(text, &seen); err != nil {
			return nil, 0, fmt.Errorf("read observations %d: %w", after, err)
		}
		for i := range seen {
			seen[i].Arrived = fromMicros(at)
		}
		page = append(page, seen...)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, fmt.Errorf("read observations: %w", err)
	}
	return page, after, nil
}

// AcquireCorrelationLease implements store.Correlations.
func (s *Store) AcquireCorrelationLease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	lead := false
	err := s.w.do(ctx, func(t *tx) error {
		n, err := t.exec("UPDATE follower SET holder = ?, until = ? WHERE holder = ? OR until <= ?",
			holder, micros(t.now.Add(ttl)), holder, micros(t.now))
		lead = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("lead: %w", err)
	}
	return lead, nil
}

// CorrelationCheckpoint implements store.Correlations.
func (s *Store) CorrelationCheckpoint(ctx context.Context) (mark int64, state []byte, err error) {
	if err := s.read.QueryRowContext(ctx, "SELECT mark, state FROM follower").Scan(&mark, &state); err != nil {
		return 0, nil, fmt.Errorf("read what was concluded: %w", err)
	}
	return mark, state, nil
}

// CommitCorrelations implements store.Correlations.
func (s *Store) CommitCorrelations(ctx context.Context, holder string, c store.CorrelationCommit) (store.SaveResult, error) {
	var b savingBatch
	err := s.w.do(ctx, func(t *tx) error {
		n, err := t.exec("UPDATE follower SET mark = ?, state = coalesce(?, state) WHERE holder = ?", c.Offset, c.State, holder)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s does not lead: %w", holder, picket.ErrConflict)
		}
		b = savingBatch{matches: c.Matches, again: c.Replay}
		if err := t.saveMatches(&b); err != nil {
			return err
		}
		t.matches += int64(b.newMatches)
		if c.DeleteBefore.IsZero() {
			return nil
		}
		_, err = t.exec("DELETE FROM observations WHERE at < ? AND mark <= ?", micros(c.DeleteBefore), c.Offset)
		return err
	})
	if err != nil {
		return store.SaveResult{}, fmt.Errorf("conclude: %w", err)
	}
	return store.SaveResult{Matches: b.newMatches, Opened: b.opened}, nil
}
