package sqlitequeue

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// housekeep renews this queue's leases, releases those of consumers that are
// gone, and returns free pages to the file system.
func (w *writer) housekeep() {
	now := time.Now()
	w.lastHousekeep = now
	w.disk.refresh(now)
	if w.q.Err() != nil {
		return
	}
	w.vacuumIfSparse()
	w.checkpointer.truncateIfIdle(w.conn)
	consumers, err := w.otherConsumers()
	if err != nil {
		w.q.log.Warn("looking up consumers failed", "error", err)
		return
	}
	gone := slices.DeleteFunc(consumers, func(c consumer) bool { return !c.isGone(&w.consumer, now) })
	renew := w.consumer.id != 0 && now.UnixMicro() > w.consumer.expires-2*w.q.opt.Lease.Microseconds()/3
	if len(gone) == 0 && !renew {
		return
	}
	err = w.transactNow(func(t *tx) error {
		if err := t.removeDeadConsumers(gone); err != nil {
			return err
		}
		if err := t.trimRates(); err != nil || !renew {
			return err
		}
		_, err = t.stmts.renewConsumer.Exec(t.now+w.q.opt.Lease.Microseconds(), w.consumer.id)
		return wrapDBError("renew leases", err)
	})
	if err != nil {
		w.q.log.Warn("renewing leases failed", "error", err)
		return
	}
	if renew {
		w.consumer.expires = now.Add(w.q.opt.Lease).UnixMicro()
	}
	for _, c := range gone {
		w.q.log.Warn("process died; its messages will be redelivered", "pid", c.pid)
	}
}

// removeDeadConsumers releases the leases of consumers that died, counts a loss for each
// message that they had leased, and deletes the consumers.
func (t *tx) removeDeadConsumers(consumers []consumer) error {
	for _, c := range consumers {
		if !t.w.q.opt.IgnoreLost {
			if _, err := t.stmts.addLost.Exec(c.id); err != nil {
				return wrapDBError("count lost leases", err)
			}
		}
		if err := t.removeConsumerAndLeases(c.id); err != nil {
			return err
		}
	}
	return nil
}

// vacuumIfSparse returns some free pages to the file system if most of the file is free,
// as it is after a backlog.
func (w *writer) vacuumIfSparse() {
	const keep, step = 1024, 1024
	var free, all int
	ctx := context.Background()
	if w.conn.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free) != nil ||
		w.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&all) != nil || free < keep || free < all/2 {
		return
	}
	if _, err := w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", step)); err != nil {
		w.q.log.Warn("shrinking queue file failed", "error", err)
		return
	}
	w.checkpointer.countCommit(step * 16384)
}

// pollOtherProcesses checks whether another process changed the file, if receives are waiting.
func (w *writer) pollOtherProcesses() {
	if len(w.waiting) == 0 || w.q.Err() != nil {
		return
	}
	var v int64
	if err := w.conn.QueryRowContext(context.Background(), "PRAGMA data_version").Scan(&v); err != nil {
		w.q.log.Warn("polling for messages failed", "error", err)
		return
	}
	if v != w.dataVersion {
		w.dataVersion = v
		w.mayServe = true
	}
}
