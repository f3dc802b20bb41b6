package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/picket-edr/picket"
)

// A writer is the one goroutine that writes. Saves that arrive while it
// commits share the next transaction, and so its fsync.
type writer struct {
	store *Store
	conn  *sql.Conn
	stmts map[string]*sql.Stmt

	ops  chan *writeOp
	quit chan struct{}
	once sync.Once

	// nextSeq is what it left in the file; if another is there, another
	// process has stored events meanwhile.
	nextSeq int64
}

// A writeOp is one thing to write: a Save, or any other change.
type writeOp struct {
	save *saveOp
	fn   func(*tx) error
	done chan error // of f
}

// maxGroupOps bounds how many jobs, maxGroupBytes how many bytes of blocks share a
// transaction.
const (
	maxGroupOps   = 256
	maxGroupBytes = 16 << 20
)

// errRetrySave says that a Save must decide anew which of its events are new.
var errRetrySave = errors.New("another process stored the same")

func newWriter(s *Store, conn *sql.Conn) (*writer, error) {
	w := &writer{store: s, conn: conn, stmts: make(map[string]*sql.Stmt), ops: make(chan *writeOp), quit: make(chan struct{})}
	err := conn.QueryRowContext(context.Background(), "SELECT next_seq FROM counters").Scan(&w.nextSeq)
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	return w, nil
}

func (w *writer) stop() { w.once.Do(func() { close(w.quit) }) }

func (w *writer) close() error {
	for _, st := range w.stmts {
		st.Close()
	}
	return w.conn.Close()
}

// submit hands a job over; an error means that it was not taken.
func (w *writer) submit(ctx context.Context, j *writeOp) error {
	select {
	case w.ops <- j:
		return nil
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transact runs f in a transaction that it may share with Saves. f is called again,
// alone, if it or one of those fails.
func (w *writer) transact(ctx context.Context, f func(*tx) error) error {
	j := &writeOp{fn: f, done: make(chan error, 1)}
	if err := w.submit(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) run() {
	for {
		select {
		case <-w.quit:
			return
		case j := <-w.ops:
			w.commit(w.collect(j))
		}
	}
}

// collect adds to a job those that wait.
func (w *writer) collect(j *writeOp) []*writeOp {
	group := []*writeOp{j}
	bytes := j.size()
	for len(group) < maxGroupOps && bytes < maxGroupBytes {
		select {
		case j := <-w.ops:
			group = append(group, j)
			bytes += j.size()
		default:
			return group
		}
	}
	return group
}

func (j *writeOp) size() int64 {
	var n int64
	if j.save != nil {
		for i := range j.save.blocks {
			n += j.save.blocks[i].Size()
		}
	}
	return n
}

// commit writes a group of jobs in one transaction; if that fails, each in one
// of its own, so that none suffers for another.
func (w *writer) commit(group []*writeOp) {
	err := markUnavailable(w.runTransaction(group))
	if err != nil && len(group) > 1 {
		for _, j := range group {
			w.commit([]*writeOp{j})
		}
		return
	}
	for _, j := range group {
		e := err
		if e == nil && j.save != nil && j.save.stale {
			e = errRetrySave
		}
		if j.save != nil {
			w.store.dedup.finish(j.save, e)
		} else {
			j.done <- e
		}
	}
}

// markUnavailable marks errors that may pass: another process holds the lock for
// too long, the disk is full or failing.
func markUnavailable(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", picket.ErrUnavailable, err)
	}
	return err
}

// runTransaction runs one transaction. Saves that turn out stale are left out of it.
func (w *writer) runTransaction(group []*writeOp) (err error) {
	ctx := context.Background()
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t := &tx{writer: w, now: w.store.options.Now()}
	defer func() {
		if err != nil {
			w.conn.ExecContext(ctx, "ROLLBACK")
		}
	}()
	if err := w.row("SELECT next_seq FROM counters").Scan(&t.nextSeq); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	if err = w.observeOtherProcesses(t.nextSeq); err != nil {
		return err
	}
	for _, j := range group {
		switch {
		case j.save == nil:
			if err := j.fn(t); err != nil {
				return err
			}
		case j.save.stale:
		default:
			if known, err := t.hasKnownBatch(j.save); err != nil {
				return err
			} else if known {
				j.save.stale = true
				continue
			}
			if err := t.save(j.save); err != nil {
				return err
			}
		}
	}
	if err := t.writeCounters(); err != nil {
		return err
	}
	if _, err := w.exec("COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	w.nextSeq = t.nextSeq
	return nil
}

// observeOtherProcesses learns the ids that other processes stored since the last
// transaction. Saves that have one of them as new are stale from then on, those
// that are yet to come to the writer too.
func (w *writer) observeOtherProcesses(next int64) error {
	if next == w.nextSeq {
		return nil
	}
	rows, err := w.query(`SELECT data FROM parts JOIN blocks ON key = seq << 9 | 1 WHERE seq + span > ?`, w.nextSeq)
	if err != nil {
		return fmt.Errorf("read ids: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var data []byte
		if err := rows.Scan(&data); err != nil {
			return fmt.Errorf("read ids: %w", err)
		}
		ids, err := DecodeIDs(data)
		if err != nil {
			return fmt.Errorf("read ids: %w", err)
		}
		w.store.dedup.observeRemote(&ids)
	}
	return rows.Err()
}

func (w *writer) stmt(q string) (*sql.Stmt, error) {
	if st := w.stmts[q]; st != nil {
		return st, nil
	}
	st, err := w.conn.PrepareContext(context.Background(), q)
	if err != nil {
		return nil, err
	}
	w.stmts[q] = st
	return st, nil
}

func (w *writer) exec(q string, args ...any) (sql.Result, error) {
	st, err := w.stmt(q)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(context.Background(), args...)
}

func (w *writer) query(q string, args ...any) (*sql.Rows, error) {
	st, err := w.stmt(q)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(context.Background(), args...)
}

func (w *writer) row(q string, args ...any) rowScanner {
	st, err := w.stmt(q)
	if err != nil {
		return failedRow{err}
	}
	return st.QueryRowContext(context.Background(), args...)
}

type rowScanner interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// checkpoint moves the WAL into the file and empties it, if nobody reads it.
func (w *writer) checkpoint(ctx context.Context) error {
	conn, err := w.store.writeDB.Conn(ctx)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	defer conn.Close()
	var busy, log, moved int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}
