package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// A writer is the only goroutine that writes. Operations that arrive while it
// commits share the next transaction, and so its fsync.
type writer struct {
	store *Store
	conn  *sql.Conn
	stmts map[string]*sql.Stmt

	ops  chan *writeOp
	quit chan struct{}
	once sync.Once

	quota *store.Quota

	// nextSeq is the next sequence number after this process's last transaction.
	// If the file has another one, another process has stored events since.
	nextSeq int64
}

// A writeOp is something to write: a Save, or any other change.
type writeOp struct {
	save *saveOp
	fn   func(*tx) error // if save is nil
	done chan error      // receives the error of fn
}

const (
	maxGroupOps   = 256      // operations in one transaction
	maxGroupBytes = 16 << 20 // of blocks in one transaction
)

// errRetrySave means that a Save has to decide again which of its events are new.
var errRetrySave = errors.New("another process has stored the same events")

func newWriter(s *Store, conn *sql.Conn) (*writer, error) {
	w := &writer{store: s, conn: conn, stmts: make(map[string]*sql.Stmt), ops: make(chan *writeOp), quit: make(chan struct{}),
		quota: store.NewQuota(s.options.MaxNewAlerts)}
	err := conn.QueryRowContext(context.Background(), "SELECT next_seq FROM counters").Scan(&w.nextSeq)
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	return w, nil
}

func (w *writer) stop() { w.once.Do(func() { close(w.quit) }) }

func (w *writer) closeConn() error {
	for _, st := range w.stmts {
		st.Close()
	}
	return w.conn.Close()
}

// enqueue passes an operation to the writer. If it returns an error, the operation
// will not be carried out.
func (w *writer) enqueue(ctx context.Context, op *writeOp) error {
	select {
	case w.ops <- op:
		return nil
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transact runs fn in a transaction that it may share with other operations. If
// one of them fails, fn is called again in a transaction of its own.
func (w *writer) transact(ctx context.Context, fn func(*tx) error) error {
	op := &writeOp{fn: fn, done: make(chan error, 1)}
	if err := w.enqueue(ctx, op); err != nil {
		return err
	}
	select {
	case err := <-op.done:
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
		case op := <-w.ops:
			w.commitGroup(w.collectGroup(op))
		}
	}
}

// collectGroup returns an operation and those that are waiting.
func (w *writer) collectGroup(first *writeOp) []*writeOp {
	group := []*writeOp{first}
	bytes := first.size()
	for len(group) < maxGroupOps && bytes < maxGroupBytes {
		select {
		case op := <-w.ops:
			group = append(group, op)
			bytes += op.size()
		default:
			return group
		}
	}
	return group
}

func (op *writeOp) size() int64 {
	var n int64
	if op.save != nil {
		for i := range op.save.blocks {
			n += op.save.blocks[i].Size()
		}
	}
	return n
}

// commitGroup writes a group of operations in one transaction. If that fails, it
// writes each in a transaction of its own, so that one cannot fail the others.
func (w *writer) commitGroup(group []*writeOp) {
	err := markUnavailable(w.runTransaction(group))
	if err != nil && len(group) > 1 {
		for _, op := range group {
			w.commitGroup([]*writeOp{op})
		}
		return
	}
	for _, op := range group {
		opErr := err
		if opErr == nil && op.save != nil && op.save.stale {
			opErr = errRetrySave
		}
		if op.save != nil {
			w.store.dedup.finish(op.save, opErr)
		} else {
			op.done <- opErr
		}
	}
}

// markUnavailable makes errors that are transient picket.ErrUnavailable: another
// process holds the lock for too long, the disk is full or failing, the file is damaged
// until it is repaired.
func markUnavailable(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %w", picket.ErrUnavailable, err)
	}
	return err
}

// runTransaction runs one transaction. Saves that turn out to be stale are left
// out.
func (w *writer) runTransaction(group []*writeOp) (err error) {
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t := &tx{writer: w, now: w.store.options.Now()}
	t.quota = w.quota.BeginTransaction(block.Micros(t.now))
	defer func() {
		if err != nil {
			w.conn.ExecContext(context.Background(), "ROLLBACK")
		}
	}()
	if err := w.queryRow("SELECT next_seq FROM counters").Scan(&t.nextSeq); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	if err := w.observeOtherProcesses(t.nextSeq); err != nil {
		return err
	}
	for _, op := range group {
		if err := t.run(op); err != nil {
			return err
		}
	}
	if err := t.writeCounters(); err != nil {
		return err
	}
	if _, err := w.exec("COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	w.nextSeq = t.nextSeq
	t.quota.Commit()
	return nil
}

// run carries out an operation.
func (t *tx) run(op *writeOp) error {
	switch {
	case op.save == nil:
		return op.fn(t)
	case op.save.stale:
		return nil
	}
	known, err := t.anyBatchSavedMeanwhile(op.save)
	if err != nil {
		return err
	}
	if known {
		op.save.stale = true
		return nil
	}
	return t.save(op.save)
}

// observeOtherProcesses reads the ids that other processes have stored since the
// last transaction. Saves that take one of them for new become stale, also those
// that have not been submitted yet.
func (w *writer) observeOtherProcesses(nextSeq int64) error {
	if nextSeq == w.nextSeq {
		return nil
	}
	blocks, err := w.listBlocksSince(w.nextSeq)
	if err != nil {
		return fmt.Errorf("read blocks of another process: %w", err)
	}
	for _, b := range blocks {
		ids, err := w.store.dedup.storedIDs(block.Open(b.Header, b.seq, b.directory, writerPartReader{w, b.seq}))
		if isDamage(err) {
			w.store.setAside(b, err, false)
		} else if err != nil {
			return fmt.Errorf("read ids: %w", err)
		}
		w.store.dedup.addStoredByOthers(ids)
	}
	return nil
}

// listBlocksSince returns the blocks that have events from a sequence number on.
func (w *writer) listBlocksSince(seq int64) ([]*blockRow, error) {
	rows, err := w.query("SELECT "+blockColumns+" FROM blocks WHERE seq + span > ? AND seq NOT IN (SELECT seq FROM damaged_blocks)", seq)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*blockRow
	for rows.Next() {
		b, err := scanBlock(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, rows.Err()
}

// A writerPartReader reads the parts of one block within the writer's transaction.
type writerPartReader struct {
	w   *writer
	seq int64
}

// ReadPart implements block.PartReader.
func (r writerPartReader) ReadPart(buf []byte, number int) ([]byte, error) {
	err := r.w.queryRow("SELECT data FROM parts WHERE key = ?", partKey(r.seq, number)).Scan(&buf)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read part %d: %w", number, err)
	}
	return buf, nil
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

func (w *writer) queryRow(q string, args ...any) rowScanner {
	st, err := w.stmt(q)
	if err != nil {
		return failedRow{err}
	}
	return st.QueryRowContext(context.Background(), args...)
}

type rowScanner interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// checkpointTimeout is how long a checkpoint, and with it every save, waits for readers
// of the log. A backup reads for minutes.
const checkpointTimeout = 200 * time.Millisecond

// checkpoint moves the write-ahead log into the file. emptied is false if someone was
// still reading the log.
func (w *writer) checkpoint(ctx context.Context) (emptied bool, err error) {
	conn, err := w.store.writeDB.Conn(ctx)
	if err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	defer conn.Close()
	setTimeout := func(d time.Duration) error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
		return err
	}
	if err := setTimeout(checkpointTimeout); err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	defer setTimeout(busyTimeout)
	var busy, log, moved int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	return busy == 0, nil
}
