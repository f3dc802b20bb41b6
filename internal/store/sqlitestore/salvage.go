package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/picket-edr/picket/internal/sqlitefile"
)

// A SalvageReport says what was saved of a store and what was lost.
type SalvageReport struct {
	// Unreadable is whether nothing could be read: the new store is empty.
	Unreadable         bool
	Events, LostEvents int64
	LostAlerts         int64 // about
	// Tables has the rows that were saved of each other table.
	Tables map[string]int64
	// Incomplete are the tables, also of events, of which something is lost.
	Incomplete   []string
	DamagedPages int
}

// Salvage makes a new store of what can be read of the one at oldPath, which no process
// may have open. If that is nothing, the new store is empty.
func Salvage(ctx context.Context, oldPath, newPath string) (*SalvageReport, error) {
	report, err := salvage(ctx, oldPath, newPath)
	if err != nil {
		return nil, errors.Join(err, removeFiles(newPath))
	}
	return report, nil
}

func salvage(ctx context.Context, oldPath, newPath string) (*SalvageReport, error) {
	template := newPath + ".template"
	empty, err := Open(template, Options{NoBackground: true})
	if err != nil {
		return nil, err
	}
	copied, err := sqlitefile.Salvage(ctx, oldPath, newPath, template)
	if isDamage(err) {
		return &SalvageReport{Unreadable: true}, errors.Join(empty.Close(), removeFiles(newPath), os.Rename(template, newPath))
	}
	if err := errors.Join(err, empty.Close(), removeFiles(template)); err != nil {
		return nil, err
	}
	if err := insertMissingCounters(ctx, newPath); err != nil {
		return nil, fmt.Errorf("salvage %s: %w", oldPath, err)
	}
	s, err := Open(newPath, Options{NoBackground: true, DedupeWindowEvents: 1})
	if err != nil {
		return nil, err
	}
	b := blockSalvager{store: s}
	err = b.salvageAll(ctx)
	if err == nil {
		err = b.recount(ctx)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, fmt.Errorf("salvage %s: %w", oldPath, err)
	}
	report := &SalvageReport{Events: b.saved, LostEvents: max(b.lost, b.before-b.saved),
		LostAlerts: max(0, b.alertsBefore-copied.Rows["alerts"]), Tables: copied.Rows,
		Incomplete: slices.Sorted(maps.Keys(copied.Incomplete)), DamagedPages: copied.DamagedPages}
	for _, table := range []string{"blocks", "parts", "counters", "damaged_blocks"} {
		delete(report.Tables, table)
	}
	return report, nil
}

// removeFiles removes a SQLite file and what SQLite keeps beside it.
func removeFiles(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// insertMissingCounters inserts the row of counters without which a store does not open.
func insertMissingCounters(ctx context.Context, path string) error {
	db, err := openDB(path)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT OR IGNORE INTO counters (id, next_seq) SELECT 1, ifnull(max(seq + span), 1) FROM blocks")
	return errors.Join(err, db.Close())
}

// A blockSalvager saves what can be read of the damaged blocks of a store.
type blockSalvager struct {
	store       *Store
	before      int64 // events that the store counted, also in blocks set aside
	saved, lost int64 // events
	// alertsBefore is how many alerts the store counted.
	alertsBefore int64
}

func (b *blockSalvager) salvageAll(ctx context.Context) error {
	err := b.store.readDB.QueryRowContext(ctx, `SELECT events + (SELECT ifnull(sum(events), 0) FROM damaged_blocks WHERE deleted = 0),
		(SELECT ifnull(sum(alerts), 0) FROM alert_stats) FROM counters`).Scan(&b.before, &b.alertsBefore)
	if err != nil {
		return err
	}
	err = b.store.writer.transact(ctx, func(t *tx) error {
		for _, statement := range []string{
			"DELETE FROM parts WHERE key >> 9 IN (SELECT seq FROM damaged_blocks WHERE deleted = 1)",
			"DELETE FROM blocks WHERE seq IN (SELECT seq FROM damaged_blocks WHERE deleted = 1)",
			"DELETE FROM damaged_blocks",
		} {
			if _, err := t.exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
	for seq := int64(-1); err == nil; {
		// The next block that has a row or parts.
		var next *int64
		err = b.store.readDB.QueryRowContext(ctx, `SELECT min(seq) FROM (SELECT min(seq) AS seq FROM blocks WHERE seq > ?1
			UNION ALL SELECT min(key) >> 9 FROM parts WHERE key >= (?1 + 1) << 9)`, seq).Scan(&next)
		if err != nil || next == nil {
			break
		}
		seq = *next
		err = b.salvageBlock(ctx, seq)
	}
	return err
}

// salvageBlock checks one block, and replaces it by what can be read of it if that is not
// all.
func (b *blockSalvager) salvageBlock(ctx context.Context, seq int64) error {
	snap, err := b.store.snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.close()
	rows, err := snap.queryBlocks(ctx, blockColumns, "seq = ?", seq)
	if err != nil {
		return err
	}
	row := &blockRow{seq: seq}
	if len(rows) > 0 {
		row = rows[0]
		if err := snap.openBlock(row).Verify(); !isDamage(err) {
			b.saved += int64(row.EventCount)
			return err
		}
	}
	in, n, first, lost, err := snap.openBlock(row).Salvage()
	if err != nil && !isDamage(err) {
		return err
	}
	b.lost += int64(lost)
	b.saved += int64(n)
	return b.store.writer.transact(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM blocks WHERE seq = ?", seq); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM parts WHERE key >= ? AND key < ?", partKey(seq, 0), partKey(seq+1, 0)); err != nil {
			return err
		}
		t.blocksChanged = true
		if n == 0 {
			return nil
		}
		encoder := b.store.builders.getOrCreate()
		defer b.store.builders.put(encoder)
		fresh := encoder.EncodeMerged(in)
		return t.insertBlock(first, &fresh)
	})
}

// recount makes the counters those of what the store has.
func (b *blockSalvager) recount(ctx context.Context) error {
	return b.store.writer.transact(ctx, func(t *tx) error {
		// The transaction adds these at its end.
		t.events, t.raw, t.size = 0, 0, 0
		if err := t.writer.queryRow("SELECT max(next_seq, ifnull((SELECT max(seq + span) FROM blocks), 1)) FROM counters").Scan(&t.nextSeq); err != nil {
			return err
		}
		for _, statement := range []string{
			`UPDATE counters SET events = (SELECT ifnull(sum(n), 0) FROM blocks), raw = (SELECT ifnull(sum(raw), 0) FROM blocks),
				size = (SELECT ifnull(sum(size), 0) FROM blocks), stored = max(stored, (SELECT ifnull(sum(n), 0) FROM blocks)),
				matches = max(matches, (SELECT count(*) FROM matches))`,
			"DELETE FROM alert_stats",
			`INSERT INTO alert_stats (rule_id, level, status, title, alerts, matches)
				SELECT rule_id, level, status, max(title), count(*), sum(count) FROM alerts GROUP BY rule_id, level, status`,
			`UPDATE hosts SET alerts = (SELECT count(*) FROM alerts WHERE host = name AND alerts.agent_id = hosts.agent_id AND closed = 0)`,
		} {
			if _, err := t.exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
}
