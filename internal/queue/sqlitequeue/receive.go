package sqlitequeue

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/groupcommit"
	"github.com/picket-edr/picket/internal/queue"
)

// maxReceiveBytes bounds the payload bytes of one Receive, so that a backlog of large
// batches cannot exhaust memory.
const maxReceiveBytes = 8 << 20

// A pendingReceive holds the argument and the result of a Receive.
type pendingReceive struct {
	max    int
	leased []messageLease
}

type messageLease struct {
	id            int64
	attempt, lost int
}

// Receive implements queue.Queue.
func (q *Queue) Receive(ctx context.Context, max int) ([]queue.Delivery, error) {
	o := &op{Op: groupcommit.NewOp(0), receive: &pendingReceive{max: max}}
	if err := q.ops.Do(ctx, o); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	// The messages are leased now, so ctx no longer matters.
	ds := make([]queue.Delivery, 0, len(o.receive.leased))
	for _, l := range o.receive.leased {
		d := queue.Delivery{Receipt: l.id, Attempt: l.attempt, Lost: l.lost}
		var at int64
		err := q.readMessage.QueryRow(l.id).Scan(&d.ID, &d.Events, &at, &d.Payload)
		if err != nil {
			q.returnUndelivered(o.receive.leased)
			return nil, fmt.Errorf("receive: read message %d: %w", l.id, asDamage(err))
		}
		d.Enqueued = time.UnixMicro(at).UTC()
		ds = append(ds, d)
	}
	return ds, nil
}

// returnUndelivered returns messages that were leased but not delivered.
func (q *Queue) returnUndelivered(ls []messageLease) {
	err := q.transact(context.Background(), 0, func(t *tx) error {
		for _, l := range ls {
			if _, err := t.stmts.returnLease.Exec(t.now, "", l.id, t.w.consumer.id, l.attempt); err != nil {
				return wrapDBError("return message", err)
			}
		}
		return nil
	})
	if err != nil {
		q.log.Error("could not return undelivered messages; they stay leased until the queue is closed", "messages", len(ls), "error", err)
	}
}

// serveReceives leases messages to waiting receives and returns those it served.
func (w *writer) serveReceives(t *tx) (served []*op, err error) {
	w.mayServe = false
	for len(w.waiting) > 0 {
		o := w.waiting[0]
		again, fresh, err := t.findDeliverable(o.receive.max)
		if err != nil {
			return served, err
		}
		if len(again)+len(fresh) == 0 {
			return served, w.updateNextDelayedDue(t)
		}
		suspect := len(again) > 0 && t.needsIsolation(again[0])
		if wait, err := t.mustWait(suspect); wait || err != nil {
			return served, err
		}
		// Only now: while it waits, its caller may withdraw it.
		w.waiting = w.waiting[1:]
		if !o.Claim() {
			continue
		}
		served = append(served, o)
		if o.receive.leased, err = t.leaseMessages(again, fresh); err != nil {
			return served, err
		}
		w.isolation.startOrEnd(suspect)
	}
	w.mayServe = true // more messages may be waiting
	return served, nil
}

// updateNextDelayedDue sets when the next delayed message is due.
func (w *writer) updateNextDelayedDue(t *tx) error {
	var next sql.NullInt64
	if err := t.stmts.nextDue.QueryRow().Scan(&next); err != nil {
		return wrapDBError("find the next message due", err)
	}
	w.nextDue = time.Time{}
	if next.Valid {
		w.nextDue = time.UnixMicro(next.Int64)
	}
	return nil
}

// findDeliverable lists up to limit messages to deliver: first those that were
// leased before, because they are older, then those that never were. A suspect
// is listed alone.
func (t *tx) findDeliverable(limit int) (retried, fresh []messageLease, err error) {
	limit = max(limit, 1)
	size := int64(0)
	if retried, err = t.listMessages(t.stmts.retried, t.now, limit, &size); err != nil {
		return nil, nil, err
	}
	for i, l := range retried {
		if t.needsIsolation(l) {
			return retried[:max(i, 1)], nil, nil
		}
	}
	if limit -= len(retried); limit > 0 && size < maxReceiveBytes && t.st.Last > t.st.Head {
		fresh, err = t.listMessages(t.stmts.fresh, t.st.Head, limit, &size)
	}
	return retried, fresh, err
}

// listMessages runs a query for messages and stops at maxReceiveBytes in total.
func (t *tx) listMessages(query *sql.Stmt, from int64, limit int, totalBytes *int64) ([]messageLease, error) {
	rows, err := query.Query(from, limit)
	if err != nil {
		return nil, wrapDBError("find messages", err)
	}
	defer rows.Close()
	var found []messageLease
	for rows.Next() {
		var l messageLease
		var bytes int64
		if err := rows.Scan(&l.id, &l.attempt, &l.lost, &bytes); err != nil {
			return nil, wrapDBError("find messages", err)
		}
		if *totalBytes > 0 && *totalBytes+bytes > maxReceiveBytes {
			*totalBytes = maxReceiveBytes
			break
		}
		*totalBytes += bytes
		l.attempt++
		found = append(found, l)
	}
	return found, wrapDBError("find messages", rows.Err())
}

// leaseMessages leases the messages that findDeliverable listed.
func (t *tx) leaseMessages(retried, fresh []messageLease) ([]messageLease, error) {
	if err := t.registerConsumer(); err != nil {
		return nil, err
	}
	for _, l := range retried {
		if _, err := t.stmts.updateLease.Exec(t.w.consumer.id, l.id); err != nil {
			return nil, wrapDBError("lease message", err)
		}
	}
	for _, l := range fresh {
		if _, err := t.stmts.insertLease.Exec(l.id, t.w.consumer.id); err != nil {
			return nil, wrapDBError("lease message", err)
		}
		t.st.Head = l.id
	}
	return append(retried, fresh...), nil
}

// Ack implements queue.Queue.
func (q *Queue) Ack(ctx context.Context, ds ...queue.Delivery) error {
	if len(ds) == 0 {
		return nil
	}
	err := q.transact(ctx, 0, func(t *tx) error {
		for i := range ds {
			if err := t.removeMessage(ds[i].Receipt); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ack %d messages: %w", len(ds), err)
	}
	return nil
}

// Retry implements queue.Queue.
func (q *Queue) Retry(ctx context.Context, delay time.Duration, rs ...queue.Retry) error {
	if len(rs) == 0 {
		return nil
	}
	err := q.transact(ctx, 0, func(t *tx) error {
		at := t.now + delay.Microseconds()
		for i := range rs {
			d, cause := &rs[i].Delivery, ""
			if rs[i].Cause != nil {
				cause = rs[i].Cause.Error()
			}
			if _, err := t.stmts.returnLease.Exec(at, cause, d.Receipt, t.w.consumer.id, d.Attempt); err != nil {
				return wrapDBError("return message", err)
			}
		}
		t.st.Seq++ // the counters stay the same, but the transaction is a change
		t.w.mayServe = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("retry %d messages: %w", len(rs), err)
	}
	return nil
}
