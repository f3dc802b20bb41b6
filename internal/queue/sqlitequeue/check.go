package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/sqlitefile"
)

// Check reports whether the queue at path is intact: queue.ErrDamaged if not. It reads
// all of the file, but not the payloads of messages. No process should write meanwhile.
func Check(ctx context.Context, path string) error {
	if isUnwritten(path) {
		return nil
	}
	err := checkLog(path)
	if err == nil {
		err = checkIntegrity(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("check queue %s: %w", path, err)
	}
	return nil
}

// isUnwritten reports whether the queue was created and nothing written to it yet.
func isUnwritten(path string) bool {
	st, err := os.Stat(path)
	if err != nil || st.Size() > 0 {
		return false
	}
	_, noLog := os.Stat(path + "-wal")
	_, noMarker := os.Stat(path + "-last")
	return errors.Is(noLog, os.ErrNotExist) && errors.Is(noMarker, os.ErrNotExist)
}

// checkLog reports whether transactions are missing in the write-ahead log. SQLite drops
// them without an error, and their frames with them, so it must not open the file before.
func checkLog(path string) error {
	f, err := sqlitefile.OpenRows(path, pageBytes, sqlitefile.BeforeDamage)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.IsFileEmpty() { // SQLite would delete the log
		return fmt.Errorf("the file is empty: %w", queue.ErrDamaged)
	}
	last, ok, err := readCommitMarker(path)
	if err != nil {
		return err
	}
	if !ok && f.DamagedFrames() > 0 {
		return fmt.Errorf("the write-ahead log has a damaged frame: %w", queue.ErrDamaged)
	}
	if !ok {
		return nil
	}
	for r, err := range f.RowsOfAllTables() {
		if err != nil {
			return err
		}
		if st, ok := asCounters(r); ok {
			if st.File == last.File && st.Seq < last.Seq {
				return fmt.Errorf("the last %d transactions are missing in the write-ahead log: %w", last.Seq-st.Seq, queue.ErrDamaged)
			}
			return nil
		}
	}
	return fmt.Errorf("the state is missing: %w", queue.ErrDamaged)
}

// readCommitMarker returns what the commit marker of a queue has recorded, if it is there.
func readCommitMarker(path string) (last counters, ok bool, err error) {
	f, err := os.Open(path + "-last")
	if errors.Is(err, os.ErrNotExist) {
		return last, false, nil
	}
	if err != nil {
		return last, false, err
	}
	m := commitMarker{f: f, path: path}
	defer m.close()
	return m.read()
}

// checks are queries that return a text about each contradiction in the tables, such as a
// message that would never be delivered. SQLite checks the structure of its pages, but not
// the bits of values.
var checks = []string{
	"SELECT 'the state is missing' WHERE (SELECT count(*) FROM state) <> 1",
	`SELECT 'the counters of messages are wrong' FROM state, (SELECT count(*) n, total(events) e, total(length(payload)) b, max(id) last FROM message) m,
		(SELECT count(*) n, total(` + deadLetterSizeSQL + `) b, max(id) last FROM letter) l
		WHERE messages <> m.n OR state.events <> m.e OR letters <> l.n OR bytes <> m.b + l.b OR state.last < max(ifnull(m.last, 0), ifnull(l.last, 0))`,
	"SELECT 'a message has no lease' FROM message, state WHERE message.id <= state.head AND message.id NOT IN (SELECT id FROM lease) LIMIT 1",
	"SELECT 'a message that was never leased has a lease' FROM lease, state WHERE lease.id > state.head LIMIT 1",
	"SELECT 'a lease has no owner' FROM lease WHERE owner <> 0 AND owner NOT IN (SELECT id FROM owner) LIMIT 1",
	"SELECT 'a lease lasts too long' FROM lease WHERE not_before > ?1 LIMIT 1",
	"SELECT 'an owner lasts too long' FROM owner WHERE expires > ?1 LIMIT 1",
}

// checkIntegrity looks for damage in the tables of the file.
func checkIntegrity(ctx context.Context, path string) error {
	db, err := openDB(path, 1, "query_only(1)")
	if err != nil {
		return err
	}
	defer db.Close()
	var v int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return asDamage(err)
	}
	if v > 0 && v < fileVersion {
		return nil // to be upgraded
	}
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return asDamage(err)
	} else if found != "ok" {
		return fmt.Errorf("%s: %w", strings.TrimSpace(found), queue.ErrDamaged)
	}
	for _, query := range checks {
		// Times are far in the future only if they are damaged.
		err := db.QueryRowContext(ctx, query, time.Now().Add(7*24*time.Hour).UnixMicro()).Scan(&found)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return asDamage(err)
		default:
			return fmt.Errorf("%s: %w", found, queue.ErrDamaged)
		}
	}
	return nil
}
