package sqlitequeue

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// An consumer is an open queue that receives. Leases name it, and it is alone
// renewed, so that a thousand leases cost one small write each third of
// Options.Lease.
//
// An owner is gone when its process is: that is looked up where pids mean the
// same as here (host). Elsewhere (in another container, on another machine,
// before a reboot) it is gone when it was not renewed for Options.Lease. A
// process that is there keeps its leases even while it is stopped or starved,
// for what it holds it may yet finish.
type consumer struct {
	id      int64 // 0 until the first lease
	host    string
	pid     int
	started string
	expires int64
}

func newConsumer() consumer {
	pid := os.Getpid()
	started, _ := processStart(pid)
	return consumer{host: processSpace(), pid: pid, started: started}
}

// isGone reports whether o's leases can be given to others.
func (o *consumer) isGone(self *consumer, now time.Time) bool {
	if o.host == self.host && o.started != "" && o.host != "" {
		started, ok := processStart(o.pid)
		return ok && started != o.started
	}
	return o.expires < now.UnixMicro()
}

// registerConsumer makes this queue's owner known before its first lease, and again
// if another process took it for gone.
func (t *tx) registerConsumer() error {
	if t.registered {
		return nil
	}
	t.registered = true
	o := &t.w.consumer
	for o.id == 0 {
		var b [8]byte
		rand.Read(b[:])
		o.id = int64(binary.LittleEndian.Uint64(b[:]) >> 1)
	}
	_, err := t.stmts.insertConsumer.Exec(o.id, o.host, o.pid, o.started, t.now+t.w.q.opt.Lease.Microseconds())
	return dbError("register owner", err)
}

// removeConsumer gives back all that an owner leased, and forgets it.
func (t *tx) removeConsumer(id int64) error {
	if _, err := t.stmts.releaseLeases.Exec(id); err != nil {
		return dbError("release leases", err)
	}
	_, err := t.stmts.deleteConsumer.Exec(id)
	t.w.mayServe = true
	return dbError("forget owner", err)
}

// otherConsumers lists those that the file knows, but for this queue's own.
func (w *writer) otherConsumers() ([]consumer, error) {
	rows, err := w.conn.QueryContext(context.Background(), "SELECT id, host, pid, started, expires FROM owner WHERE id <> ?", w.consumer.id)
	if err != nil {
		return nil, fmt.Errorf("list owners: %w", err)
	}
	defer rows.Close()
	var all []consumer
	for rows.Next() {
		var o consumer
		if err := rows.Scan(&o.id, &o.host, &o.pid, &o.started, &o.expires); err != nil {
			return nil, fmt.Errorf("list owners: %w", err)
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

// housekeep renews this queue's leases, takes back those of owners that are gone,
// and gives free pages back to the disk.
func (w *writer) housekeep() {
	now := time.Now()
	w.lastHousekeep = now
	if w.q.Err() != nil {
		return
	}
	w.disk.refresh(now)
	w.shrink()
	w.checkpointer.checkpointIdle(w.conn)
	owners, err := w.otherConsumers()
	if err != nil {
		w.q.log.Warn("cannot look for lost workers", "error", err)
		return
	}
	var lost []consumer
	var dead []lostMessage
	for _, o := range owners {
		if o.isGone(&w.consumer, now) {
			lost = append(lost, o)
		}
	}
	renew := w.consumer.id != 0 && now.UnixMicro() > w.consumer.expires-2*w.q.opt.Lease.Microseconds()/3
	if len(lost) > 0 || renew {
		err = w.transactNow(func(t *tx) error {
			for _, o := range lost {
				ms, err := t.countLost(o.id)
				if err != nil {
					return err
				}
				dead = append(dead, ms...)
				if err := t.removeConsumer(o.id); err != nil {
					return err
				}
			}
			if err := t.trimRates(); err != nil || !renew {
				return err
			}
			_, err := t.stmts.renewConsumer.Exec(t.now+w.q.opt.Lease.Microseconds(), w.consumer.id)
			return dbError("renew leases", err)
		})
	}
	switch {
	case err != nil:
		w.q.log.Warn("cannot renew leases", "error", err)
		return
	case renew:
		w.consumer.expires = now.Add(w.q.opt.Lease).UnixMicro()
	}
	for _, o := range lost {
		w.q.log.Warn("a process that held messages is gone; they are delivered again", "pid", o.pid)
	}
	for _, m := range dead {
		w.q.log.Error("batch dead-lettered", "batch", m.batch, "events", m.events, "cause", queue.LostCause(m.lost))
	}
}

// shrink gives a few of the pages that a backlog left free back to the disk,
// when most of the file is free.
func (w *writer) shrink() {
	const keep, step = 1024, 1024
	var free, all int
	ctx := context.Background()
	if w.conn.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free) != nil ||
		w.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&all) != nil || free < keep || free < all/2 {
		return
	}
	if _, err := w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", step)); err != nil {
		w.q.log.Warn("cannot shrink the queue's file", "error", err)
		return
	}
	w.checkpointer.add(step * 16384)
}

// poll looks whether another process changed the file while receivers wait.
func (w *writer) poll() {
	if len(w.waiting) == 0 || w.q.Err() != nil {
		return
	}
	var v int64
	if err := w.conn.QueryRowContext(context.Background(), "PRAGMA data_version").Scan(&v); err != nil {
		w.q.log.Warn("cannot look for messages of other processes", "error", err)
		return
	}
	if v != w.dataVersion {
		w.dataVersion = v
		w.mayServe = true
	}
}
