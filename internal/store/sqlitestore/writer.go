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
	s     *Store
	conn  *sql.Conn
	stmts map[string]*sql.Stmt

	jobs chan *job
	quit chan struct{}
	once sync.Once

	// nextSeq is what it left in the file; if another is there, another
	// process has stored events meanwhile.
	nextSeq int64
}

// A job is one thing to write: a Save, or any other change.
type job struct {
	p    *saving
	f    func(*tx) error
	done chan error // of f
}

// groupMax bounds how many jobs, groupBytes how many bytes of blocks share a
// transaction.
const (
	groupMax   = 256
	groupBytes = 16 << 20
)

// errStale says that a Save must decide anew which of its events are new.
var errStale = errors.New("another process stored the same")

func newWriter(s *Store, conn *sql.Conn) (*writer, error) {
	w := &writer{s: s, conn: conn, stmts: make(map[string]*sql.Stmt), jobs: make(chan *job), quit: make(chan struct{})}
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
func (w *writer) submit(ctx context.Context, j *job) error {
	select {
	case w.jobs <- j:
		return nil
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do runs f in a transaction that it may share with Saves. f is called again,
// alone, if it or one of those fails.
func (w *writer) do(ctx context.Context, f func(*tx) error) error {
	j := &job{f: f, done: make(chan error, 1)}
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
		case j := <-w.jobs:
			w.commit(w.gather(j))
		}
	}
}

// gather adds to a job those that wait.
func (w *writer) gather(j *job) []*job {
	group := []*job{j}
	bytes := j.size()
	for len(group) < groupMax && bytes < groupBytes {
		select {
		case j := <-w.jobs:
			group = append(group, j)
			bytes += j.size()
		default:
			return group
		}
	}
	return group
}

func (j *job) size() int64 {
	var n int64
	if j.p != nil {
		for i := range j.p.blocks {
			n += j.p.blocks[i].size()
		}
	}
	return n
}

// commit writes a group of jobs in one transaction; if that fails, each in one
// of its own, so that none suffers for another.
func (w *writer) commit(group []*job) {
	err := unavailable(w.attempt(group))
	if err != nil && len(group) > 1 {
		for _, j := range group {
			w.commit([]*job{j})
		}
		return
	}
	for _, j := range group {
		e := err
		if e == nil && j.p != nil && j.p.stale {
			e = errStale
		}
		if j.p != nil {
			w.s.claims.finish(j.p, e)
		} else {
			j.done <- e
		}
	}
}

// unavailable marks errors that may pass: another process holds the lock for
// too long, the disk is full or failing.
func unavailable(err error) error {
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

// attempt runs one transaction. Saves that turn out stale are left out of it.
func (w *writer) attempt(group []*job) (err error) {
	ctx := context.Background()
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t := &tx{w: w, now: w.s.opt.Now()}
	defer func() {
		if err != nil {
			w.conn.ExecContext(ctx, "ROLLBACK")
		}
	}()
	if err := w.row("SELECT next_seq FROM counters").Scan(&t.nextSeq); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	if err = w.catchUp(t.nextSeq); err != nil {
		return err
	}
	for _, j := range group {
		switch {
		case j.p == nil:
			if err := j.f(t); err != nil {
				return err
			}
		case j.p.stale:
		default:
			if known, err := t.knownBatch(j.p); err != nil {
				return err
			} else if known {
				j.p.stale = true
				continue
			}
			if err := t.save(j.p); err != nil {
				return err
			}
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if _, err := w.exec("COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	w.nextSeq = t.nextSeq
	return nil
}

// catchUp learns the ids that other processes stored since the last
// transaction. Saves that have one of them as new are stale from then on, those
// that are yet to come to the writer too.
func (w *writer) catchUp(next int64) error {
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
		ids, err := decodeIDs(data)
		if err != nil {
			return fmt.Errorf("read ids: %w", err)
		}
		w.s.claims.learn(&ids)
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
	conn, err := w.s.db.Conn(ctx)
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
