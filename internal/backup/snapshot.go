package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/picket-edr/picket/internal/sqlitefile"
)

// A snapshot is a SQLite file as it was at one moment. Other processes can write the
// file meanwhile.
type snapshot struct {
	db              *sql.DB // one connection, in a read transaction
	tx              *sql.Tx
	pages, pageSize int64
}

// takeSnapshots takes snapshots of files at one moment: meanwhile no process can write
// them. It has none, nil, of a file that cannot be read and that ignoreUnreadable accepts.
func takeSnapshots(ctx context.Context, paths []string, ignoreUnreadable func(path string) bool) (snapshots []*snapshot, err error) {
	var locks []*sql.DB
	unlock := func() {
		for _, db := range locks {
			db.Close() // rolls back
		}
	}
	defer unlock()
	defer func() {
		if err != nil {
			closeAll(snapshots)
		}
	}()
	readable := make([]bool, len(paths))
	for i, path := range paths {
		db, err := openDB(path)
		if err != nil {
			return nil, err
		}
		locks = append(locks, db)
		_, err = db.ExecContext(ctx, "BEGIN IMMEDIATE")
		if readable[i] = err == nil; err != nil && !ignoreUnreadable(path) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
	for i, path := range paths {
		var s *snapshot
		if readable[i] {
			if s, err = takeSnapshot(ctx, path); err != nil && !ignoreUnreadable(path) {
				return snapshots, fmt.Errorf("read %s: %w", path, err)
			}
		}
		snapshots = append(snapshots, s)
	}
	return snapshots, nil
}

func closeAll(snapshots []*snapshot) {
	for _, s := range snapshots {
		if s != nil {
			s.close()
		}
	}
}

// openDB opens a SQLite file with one connection.
func openDB(path string, extraPragmas ...string) (*sql.DB, error) {
	db, err := sqlitefile.Open(path, append([]string{"busy_timeout(10000)", "cache_size(-2000)"}, extraPragmas...)...)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// takeSnapshot takes a snapshot of a file.
func takeSnapshot(ctx context.Context, path string) (*snapshot, error) {
	db, err := openDB(path, "query_only(1)")
	if err != nil {
		return nil, err
	}
	s := &snapshot{db: db}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *snapshot) begin(ctx context.Context) (err error) {
	if s.tx, err = s.db.BeginTx(ctx, nil); err != nil {
		return err
	}
	var tables int
	if err := s.tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil { // begins the snapshot
		return err
	}
	if err := s.tx.QueryRowContext(ctx, "PRAGMA page_count").Scan(&s.pages); err != nil {
		return err
	}
	return s.tx.QueryRowContext(ctx, "PRAGMA page_size").Scan(&s.pageSize)
}

// bytes returns the size of the file.
func (s *snapshot) bytes() int64 { return s.pages * s.pageSize }

// writeTo writes the file.
func (s *snapshot) writeTo(ctx context.Context, w io.Writer) error {
	rows, err := s.tx.QueryContext(ctx, "SELECT pgno, data FROM sqlite_dbpage ORDER BY pgno")
	if err != nil {
		return err
	}
	defer rows.Close()
	written, checked := int64(0), false
	for rows.Next() {
		var number int64
		var page []byte
		if err := rows.Scan(&number, &page); err != nil {
			return err
		}
		if written++; number != written || int64(len(page)) != s.pageSize {
			return fmt.Errorf("page %d has number %d and %d bytes", written, number, len(page))
		}
		if checked = checked || number == 1 && sqlitefile.HasChecksums(page); checked {
			sqlitefile.SetChecksum(number, page) // a page of the write-ahead log has none
		}
		if _, err := w.Write(page); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if written != s.pages {
		return fmt.Errorf("%d pages of %d", written, s.pages)
	}
	return nil
}

func (s *snapshot) close() error {
	if s.tx != nil {
		s.tx.Rollback()
	}
	return s.db.Close()
}

// isSQLite reports whether a file begins as SQLite's do.
func isSQLite(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	_, err = io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	return string(head) == magic, err
}
