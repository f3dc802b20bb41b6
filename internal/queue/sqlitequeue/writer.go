package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/groupcommit"
)

const (
	// housekeepInterval is how often leases are renewed, other processes looked
	// up and free pages returned.
	housekeepInterval = time.Second
	// pollInterval is how often waiting receives look for messages that other
	// processes enqueued.
	pollInterval = 250 * time.Millisecond
)

// A writer owns the write connection and runs all operations, in one goroutine.
type writer struct {
	q     *Queue
	conn  *sql.Conn
	stmts statements

	marker       *commitMarker
	disk         *diskMonitor
	consumer     consumer
	checkpointer *checkpointer

	waiting       []*op     // receives, oldest first
	mayServe      bool      // there may be messages for them
	nextDue       time.Time // when the next delayed message is due; zero: none
	isolation     isolation
	dataVersion   int64 // PRAGMA data_version: changes when another process commits
	lastHousekeep time.Time
	closeErr      error
}

func newWriter(q *Queue) (*writer, error) {
	ctx := context.Background()
	conn, err := q.writeDB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{q: q, conn: conn, consumer: newOwnConsumer(), disk: newDiskMonitor(q.path, q.opt.MinFreeDisk, q.log), checkpointer: newCheckpointer(q.checkpointDB)}
	if err := createOrUpgrade(ctx, conn); err != nil {
		return nil, err
	}
	if err := w.stmts.prepare(ctx, conn); err != nil {
		return nil, err
	}
	if w.marker, err = openCommitMarker(q.path); err != nil {
		return nil, err
	}
	var st counters
	if err := st.read(&w.stmts); err != nil {
		return nil, err
	}
	if err := w.marker.reportLostTransactions(st, q.log); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *writer) run() {
	defer close(w.q.done)
	w.housekeep()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var group []*op
	for {
		if wait := time.Until(w.nextDue); len(w.waiting) > 0 && !w.nextDue.IsZero() {
			timer.Reset(max(wait, 0))
		} else {
			timer.Reset(time.Hour)
		}
		group = group[:0]
		select {
		case o := <-w.q.ops.C:
			group = w.gather(group, o)
		case <-timer.C:
			w.mayServe = true
		case now := <-tick.C:
			if now.Sub(w.lastHousekeep) >= housekeepInterval {
				w.housekeep()
			}
			w.pollOtherProcesses()
		case <-w.q.stop:
			w.drainAndClose()
			return
		}
		w.commit(group)
		if w.checkpointer.clearEndedCopy() {
			w.checkpointer.copyRest(w.conn)
		}
	}
}

// gather returns first and the other operations that are waiting, except receives,
// which go to w.waiting.
func (w *writer) gather(group []*op, first *op) []*op {
	all := w.q.ops.Gather(group, first)
	ops := all[:0]
	for _, o := range all {
		if o.receive == nil {
			ops = append(ops, o)
			continue
		}
		w.waiting = append(w.waiting, o)
		w.mayServe = true
	}
	return ops
}

// commit runs group, and the receives that can be served, in one transaction.
func (w *writer) commit(group []*op) {
	w.waiting = withoutWithdrawn(w.waiting)
	serve := w.mayServe && len(w.waiting) > 0
	claimed := group[:0]
	for _, o := range group {
		if o.Claim() {
			claimed = append(claimed, o)
		}
	}
	if len(claimed) == 0 && !serve {
		return
	}
	if broken := w.q.Err(); broken != nil {
		for _, o := range append(claimed, w.waiting...) {
			o.Claim()
			o.Finish(broken)
		}
		w.waiting = nil
		return
	}
	served, err := w.transact(claimed)
	if err != nil {
		err = w.recordFullOrFatal(err)
		w.mayServe, w.nextDue = true, time.Time{} // retry the receives at the next tick
		for _, o := range append(claimed, served...) {
			o.Finish(err)
		}
		return
	}
	for _, o := range append(claimed, served...) {
		o.Finish(o.err)
	}
}

// withoutWithdrawn removes the operations whose caller withdrew them.
func withoutWithdrawn(ops []*op) []*op {
	kept := ops[:0]
	for _, o := range ops {
		if !o.Withdrawn() {
			kept = append(kept, o)
		}
	}
	clear(ops[len(kept):])
	return kept
}

func (w *writer) transact(group []*op) (served []*op, err error) {
	ctx := context.Background()
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, wrapDBError("begin", err)
	}
	t := &tx{w: w, stmts: &w.stmts, now: time.Now().UnixMicro()}
	defer func() {
		if err != nil {
			w.conn.ExecContext(ctx, "ROLLBACK") // fails if SQLite has rolled back itself
		}
	}()
	if err := t.st.read(&w.stmts); err != nil {
		return nil, err
	}
	before := t.st
	for _, o := range group {
		if o.err = o.do(t); o.err != nil {
			if _, ok := errors.AsType[*dbError](o.err); ok {
				return nil, o.err
			}
		}
	}
	if w.mayServe || t.st.Messages > before.Messages {
		if served, err = w.serveReceives(t); err != nil {
			return served, err
		}
	}
	if err := t.writeState(before); err != nil {
		return served, err
	}
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return served, wrapDBError("commit", err)
	}
	if t.st != before {
		w.marker.write(&t.st)
		w.checkpointer.countCommit(t.written)
	}
	return served, nil
}

// recordFullOrFatal records that the disk is full, and makes a fatal error the error of
// the queue.
func (w *writer) recordFullOrFatal(err error) error {
	if resultCode(err) == codeFull {
		w.disk.recordWriteFailed()
	}
	if isFatal(err) {
		broken := fmt.Errorf("queue stopped, open it again: %w", err)
		w.q.broken.Store(&broken)
		w.q.log.Error("queue stopped: the disk failed", "error", err)
	}
	return err
}

// transactNow runs f from the writer's own goroutine.
func (w *writer) transactNow(f func(*tx) error) error {
	o := &op{Op: groupcommit.NewOp(0), do: f}
	w.commit([]*op{o})
	return o.WaitOutcome()
}

// drainAndClose runs the operations that are waiting and releases the leases.
func (w *writer) drainAndClose() {
	for {
		var group []*op
		select {
		case o := <-w.q.ops.C:
			w.commit(w.gather(group, o))
			continue
		default:
		}
		break
	}
	for _, o := range w.waiting {
		if o.Claim() {
			o.Finish(errClosed)
		}
	}
	w.waiting = nil
	w.checkpointer.wait()
	if w.consumer.id != 0 && w.q.Err() == nil {
		w.closeErr = w.transactNow(func(t *tx) error { return t.removeConsumerAndLeases(w.consumer.id) })
	}
	w.stmts.close()
	w.closeErr = errors.Join(w.closeErr, w.conn.Close())
}
