package sqlitestore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

const coordinationMigration = `
-- At most one row.
CREATE TABLE published_rules (id INTEGER PRIMARY KEY CHECK (id = 1), version TEXT NOT NULL, bundle BLOB NOT NULL, at INTEGER NOT NULL);
CREATE TABLE workers (
	id TEXT PRIMARY KEY, host TEXT NOT NULL, version TEXT NOT NULL, rules TEXT NOT NULL, concurrency INTEGER NOT NULL,
	started INTEGER NOT NULL, seen INTEGER NOT NULL, events INTEGER NOT NULL
) WITHOUT ROWID;
`

// PublishRules implements store.Coordination.
func (s *Store) PublishRules(ctx context.Context, r store.PublishedRules) error {
	err := s.writer.transact(ctx, func(t *tx) error {
		_, err := t.exec("INSERT OR REPLACE INTO published_rules (id, version, bundle, at) VALUES (1, ?, ?, ?)", r.Version, r.Bundle, block.Micros(r.Published))
		return err
	})
	if err != nil {
		return fmt.Errorf("publish rules: %w", err)
	}
	return nil
}

// PublishedRules implements store.Coordination.
func (s *Store) PublishedRules(ctx context.Context, knownVersion string) (store.PublishedRules, error) {
	var r store.PublishedRules
	var at int64
	err := s.lookupDB.QueryRowContext(ctx, "SELECT version, CASE WHEN version = ? THEN NULL ELSE bundle END, at FROM published_rules", knownVersion).
		Scan(&r.Version, &r.Bundle, &at)
	if errors.Is(err, sql.ErrNoRows) {
		err = picket.ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("read published rules: %w", err)
	}
	r.Published = block.FromMicros(at)
	return r, nil
}

// workerRetention is how long a worker that does not report any more is kept.
const workerRetention = 24 * time.Hour

// ReportWorker implements store.Coordination.
func (s *Store) ReportWorker(ctx context.Context, w store.Worker) error {
	err := s.writer.transact(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM workers WHERE seen < ?", block.Micros(w.LastSeen.Add(-workerRetention))); err != nil {
			return err
		}
		_, err := t.exec("INSERT OR REPLACE INTO workers (id, host, version, rules, concurrency, started, seen, events) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			w.ID, w.Host, w.Version, w.RulesRevision, w.Concurrency, block.Micros(w.Started), block.Micros(w.LastSeen), w.Events)
		return err
	})
	if err != nil {
		return fmt.Errorf("report worker %s: %w", w.ID, err)
	}
	return nil
}

// Workers implements store.Coordination.
func (s *Store) Workers(ctx context.Context, since time.Time) ([]store.Worker, error) {
	rows, err := s.lookupDB.QueryContext(ctx, "SELECT id, host, version, rules, concurrency, started, seen, events FROM workers WHERE seen >= ? ORDER BY id", block.Micros(since))
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	defer rows.Close()
	var all []store.Worker
	for rows.Next() {
		var w store.Worker
		var started, seen int64
		if err := rows.Scan(&w.ID, &w.Host, &w.Version, &w.RulesRevision, &w.Concurrency, &started, &seen, &w.Events); err != nil {
			return nil, fmt.Errorf("list workers: %w", err)
		}
		w.Started, w.LastSeen = block.FromMicros(started), block.FromMicros(seen)
		all = append(all, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	return all, nil
}

// Secret implements store.Coordination.
func (s *Store) Secret(ctx context.Context, name string) (value []byte, err error) {
	err = s.writer.transact(ctx, func(t *tx) error {
		candidate := make([]byte, store.SecretBytes)
		rand.Read(candidate)
		if _, err := t.exec("INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, candidate); err != nil {
			return err
		}
		return t.writer.queryRow("SELECT value FROM secrets WHERE name = ?", name).Scan(&value)
	})
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	return value, nil
}
