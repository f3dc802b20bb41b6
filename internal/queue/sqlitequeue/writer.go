package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Bounds of one group. They keep a commit, and so the wait of those who come
// just after it began, short.
const (
	maxGroupOps   = 1024
	maxGroupBytes = 4 << 20
)

// housekeeping is how often the writer looks after leases, other processes
// and free pages; polling, how often receivers look for what other processes
// put in.
const (
	housekeeping = time.Second
	polling      = 250 * time.Millisecond
)

// A writer is the goroutine that owns the write connection.
type writer struct {
	q    *Queue
	conn *sql.Conn
	st   statements

	witness *witness
	disk    *disk
	owner   owner
	check   *checkpointer

	waiting   []*op // receives, oldest first
	ready     bool  // there may be something for them
	due       time.Time
	isolation isolation
	seen      int64 // data_version: changes with every commit of another process
	kept      time.Time
	closeErr  error
}

func newWriter(q *Queue) (*writer, error) {
	ctx := context.Background()
	conn, err := q.writer.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{q: q, conn: conn, owner: newOwner(), disk: newDisk(q.path, q.opt.MinFreeDisk), check: newCheckpointer(q.checker)}
	if err := prepare(ctx, conn); err != nil {
		return nil, err
	}
	if err := w.st.prepare(ctx, conn); err != nil {
		return nil, err
	}
	if w.witness, err = openWitness(q.path); err != nil {
		return nil, err
	}
	var st state
	if err := st.read(&w.st); err != nil {
		return nil, err
	}
	if err := w.witness.compare(&st, q.log); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *writer) run() {
	defer close(w.q.done)
	w.keep()
	tick := time.NewTicker(polling)
	defer tick.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var group []*op
	for {
		if wait := time.Until(w.due); len(w.waiting) > 0 && !w.due.IsZero() {
			timer.Reset(max(wait, 0))
		} else {
			timer.Reset(time.Hour)
		}
		group = group[:0]
		select {
		case o := <-w.q.ops:
			group = w.gather(group, o)
		case <-timer.C:
			w.ready = true
		case now := <-tick.C:
			if now.Sub(w.kept) >= housekeeping {
				w.keep()
			}
			w.poll()
		case <-w.q.stop:
			w.close()
			return
		}
		w.commit(group)
		if w.check.due() {
			w.check.finish(w.conn)
		}
	}
}

// gather adds to first what else waits.
func (w *writer) gather(group []*op, first *op) []*op {
	size := 0
	add := func(o *op) {
		if o.receive != nil {
			w.waiting = append(w.waiting, o)
			w.ready = true
			return
		}
		size += o.size
		group = append(group, o)
	}
	add(first)
	// Callers that the last commit woke need a moment to come back with
	// their next operation; yielding lets them, at no cost where none wants to.
	for range 2 {
		runtime.Gosched()
		for size < maxGroupBytes && len(group) < maxGroupOps {
			select {
			case o := <-w.q.ops:
				add(o)
				continue
			default:
			}
			break
		}
	}
	return group
}

// commit runs group, and the receives that can be served, in one transaction.
func (w *writer) commit(group []*op) {
	w.waiting = keepWaiting(w.waiting)
	serve := w.ready && len(w.waiting) > 0
	taken := group[:0]
	for _, o := range group {
		if o.take() {
			taken = append(taken, o)
		}
	}
	if len(taken) == 0 && !serve {
		return
	}
	if broken := w.q.Err(); broken != nil {
		for _, o := range append(taken, w.waiting...) {
			o.take()
			o.done <- broken
		}
		w.waiting = nil
		return
	}
	served, err := w.transact(taken)
	if err != nil {
		err = w.judge(err)
		w.ready, w.due = true, time.Time{} // receives that were not served try again at the next tick
		for _, o := range append(taken, served...) {
			o.done <- err
		}
		return
	}
	for _, o := range append(taken, served...) {
		o.done <- o.refused
	}
}

// keepWaiting leaves out those whose caller is gone.
func keepWaiting(ops []*op) []*op {
	kept := ops[:0]
	for _, o := range ops {
		if o.state.Load() == opWaiting {
			kept = append(kept, o)
		}
	}
	clear(ops[len(kept):])
	return kept
}

func (w *writer) transact(group []*op) (served []*op, err error) {
	ctx := context.Background()
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, dbError("begin", err)
	}
	t := &tx{w: w, s: &w.st, now: time.Now().UnixMicro()}
	defer func() {
		if err != nil {
			w.conn.ExecContext(ctx, "ROLLBACK") // of what SQLite has not undone itself
		}
	}()
	if err := t.st.read(&w.st); err != nil {
		return nil, err
	}
	was := t.st
	for _, o := range group {
		if o.refused = o.do(t); o.refused != nil {
			if _, ok := errors.AsType[*diskError](o.refused); ok {
				return nil, o.refused
			}
		}
	}
	if w.ready || t.st.Messages > was.Messages {
		if served, err = w.serve(t); err != nil {
			return served, err
		}
	}
	if err := t.finish(was); err != nil {
		return served, err
	}
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return served, dbError("commit", err)
	}
	if t.st != was {
		w.witness.write(&t.st)
		w.check.wrote(t.written)
	}
	return served, nil
}

// judge logs a failure that ends the queue, and remembers it.
func (w *writer) judge(err error) error {
	if fatal(err) {
		broken := fmt.Errorf("queue stopped, open it again: %w", err)
		w.q.broken.Store(&broken)
		w.q.log.Error("queue stopped: the disk failed", "error", err)
	}
	return err
}

// exec runs f in a transaction of the writer's own.
func (w *writer) exec(f func(*tx) error) error {
	o := &op{do: f, done: make(chan error, 1)}
	w.commit([]*op{o})
	return <-o.done
}

// close answers what still waits and releases the leases.
func (w *writer) close() {
	for {
		var group []*op
		select {
		case o := <-w.q.ops:
			w.commit(w.gather(group, o))
			continue
		default:
		}
		break
	}
	for _, o := range w.waiting {
		if o.take() {
			o.done <- errClosed
		}
	}
	w.waiting = nil
	w.check.wait()
	if w.owner.id != 0 && w.q.Err() == nil {
		w.closeErr = w.exec(func(t *tx) error { return t.release(w.owner.id) })
	}
	w.st.close()
	w.closeErr = errors.Join(w.closeErr, w.conn.Close())
}
