package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// AddAuditEntry implements store.AuditLog.
func (s *Store) AddAuditEntry(ctx context.Context, e store.AuditEntry) (store.AuditEntry, error) {
	var first int64
	err := s.writer.transact(ctx, func(t *tx) error {
		recorded, _ := s.auditHead.read() // without it, what is missing shows less
		last, err := t.lastAuditEntry(recorded)
		if err != nil {
			return err
		}
		first, e.N, e.Previous = last.First, last.Last+1, last.Hash
		e.Hash = e.ChainHash()
		_, err = t.exec("INSERT INTO audit (n, at, actor, action, object, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			e.N, block.Micros(e.Time), e.Actor, e.Action, e.Object, e.Detail, e.Previous, e.Hash)
		return err
	})
	if err != nil {
		return store.AuditEntry{}, fmt.Errorf("write audit entry: %w", err)
	}
	s.auditHead.advance(&e, first)
	return e, nil
}

// AuditEntries implements store.AuditLog.
func (s *Store) AuditEntries(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error) {
	before := cmp.Or(q.Before, math.MaxInt64)
	var out []store.AuditEntry
	err := s.queryLookupDB(ctx, `SELECT n, at, actor, action, object, detail, previous, hash FROM audit
		WHERE n < ? AND (? = '' OR actor = ?) AND (? = '' OR action = ?) ORDER BY n DESC LIMIT ?`,
		[]any{before, q.Actor, q.Actor, q.Action, q.Action, cmp.Or(max(q.Limit, 0), defaultLimit)}, func(r *sql.Rows) error {
			var e store.AuditEntry
			var at int64
			err := r.Scan(&e.N, &at, &e.Actor, &e.Action, &e.Object, &e.Detail, &e.Previous, &e.Hash)
			e.Time = block.FromMicros(at)
			out = append(out, e)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", sqlitefile.WrapDamage(err))
	}
	return out, nil
}

// PruneAudit implements store.AuditLog.
func (s *Store) PruneAudit(ctx context.Context, before time.Time, maxEntries int) (int64, error) {
	var n int64
	err := s.writer.transact(ctx, func(t *tx) (err error) {
		var first int64 // of those that stay
		err = t.writer.queryRow(`SELECT ifnull(max(ifnull((SELECT min(n) FROM audit WHERE at >= ?), (SELECT max(n) + 1 FROM audit)),
			ifnull((SELECT n + 1 FROM audit ORDER BY n DESC LIMIT 1 OFFSET ?), 0)), 0)`, block.Micros(before), maxEntries).Scan(&first)
		if err == nil {
			n, err = t.exec("DELETE FROM audit WHERE n < ?", first)
		}
		if err == nil && n > 0 {
			s.auditHead.prune(first) // before the commit: a head that begins too late only detects less
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prune audit log: %w", err)
	}
	return n, nil
}
