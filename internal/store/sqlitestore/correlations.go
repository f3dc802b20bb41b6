package sqlitestore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
	"github.com/picket-edr/picket/internal/zst"
)

const correlationsMigration = `
-- The observations that were saved, a row or several for each batch: zstd of JSON.
CREATE TABLE observations (mark INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX observations_at ON observations (at);
-- One row: who evaluates correlations until when, and the checkpoint.
CREATE TABLE follower (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	mark INTEGER NOT NULL DEFAULT 0, state BLOB, holder TEXT NOT NULL DEFAULT '', until INTEGER NOT NULL DEFAULT 0
);
INSERT INTO follower (id) VALUES (1);
`

// Observations implements store.Correlations.
func (s *Store) Observations(ctx context.Context, after int64, limit int) ([]store.Observation, int64, error) {
	rows, err := s.readDB.QueryContext(ctx, "SELECT mark, at, data FROM observations WHERE mark > ? ORDER BY mark", after)
	if err != nil {
		return nil, 0, fmt.Errorf("read observations: %w", err)
	}
	defer rows.Close()
	var page []store.Observation
	bytes := 0
	for len(page) < limit && bytes < store.MaxObservationPageBytes && rows.Next() {
		var at int64
		var data []byte
		if err := rows.Scan(&after, &at, &data); err != nil {
			return nil, 0, fmt.Errorf("read observations: %w", err)
		}
		err := decodeObservations(data, func(o store.Observation) {
			o.Arrived = block.FromMicros(at)
			bytes += o.Size()
			page = append(page, o)
		})
		if err != nil {
			return nil, 0, fmt.Errorf("read observations %d: %w", after, err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, fmt.Errorf("read observations: %w", err)
	}
	return page, after, nil
}

// decodeObservations calls add with each observation of a row.
func decodeObservations(data []byte, add func(store.Observation)) error {
	r, err := zst.NewReader(data)
	if err != nil {
		return err
	}
	defer r.Close()
	return store.DecodeObservations(json.NewDecoder(r), add)
}

// encodeObservations returns the rows of observations.
func encodeObservations(observations []store.Observation) ([][]byte, error) {
	var rows [][]byte
	for len(observations) > 0 {
		n, bytes := 0, 0
		for n < len(observations) && (n == 0 || bytes < store.MaxObservationPageBytes/2) {
			bytes += observations[n].Size()
			n++
		}
		data, err := json.Marshal(observations[:n])
		if err != nil {
			return nil, fmt.Errorf("encode observations: %w", err)
		}
		rows = append(rows, zst.CompressForSpeed(nil, data))
		observations = observations[n:]
	}
	return rows, nil
}

// AcquireCorrelationLease implements store.Correlations.
func (s *Store) AcquireCorrelationLease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	acquired := false
	err := s.writer.transact(ctx, func(t *tx) error {
		n, err := t.exec("UPDATE follower SET holder = ?, until = ? WHERE holder = ? OR until <= ?",
			holder, block.Micros(t.now.Add(ttl)), holder, block.Micros(t.now))
		acquired = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("acquire correlation lease: %w", err)
	}
	return acquired, nil
}

// CorrelationCheckpoint implements store.Correlations.
func (s *Store) CorrelationCheckpoint(ctx context.Context) (offset int64, state []byte, err error) {
	err = s.lookupDB.QueryRowContext(ctx, "SELECT mark, CASE WHEN length(state) <= ? THEN state END FROM follower", store.MaxStateBytes).Scan(&offset, &state)
	if err != nil {
		return 0, nil, fmt.Errorf("read correlation checkpoint: %w", err)
	}
	return offset, state, nil
}

// CommitCorrelations implements store.Correlations.
func (s *Store) CommitCorrelations(ctx context.Context, holder string, c store.CorrelationCommit) (store.SaveResult, error) {
	var b dedupedBatch
	err := s.writer.transact(ctx, func(t *tx) error {
		n, err := t.exec("UPDATE follower SET mark = ?, state = coalesce(?, state) WHERE holder = ?", c.Offset, c.State, holder)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s does not have the lease: %w", holder, picket.ErrConflict)
		}
		b = dedupedBatch{sender: store.CorrelationSender, matches: c.Matches, replay: c.Replay}
		if err := t.saveMatches(&b); err != nil {
			return err
		}
		t.matches += int64(b.newMatches)
		if c.DeleteBefore.IsZero() {
			return nil
		}
		_, err = t.exec("DELETE FROM observations WHERE at < ? AND mark <= ?", block.Micros(c.DeleteBefore), c.Offset)
		return err
	})
	if err != nil {
		return store.SaveResult{}, fmt.Errorf("commit correlations: %w", err)
	}
	return store.SaveResult{Matches: b.newMatches, Opened: b.opened}, nil
}
