package sqlitequeue

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// A consumer is an open queue that receives: a row of table owner. Leases refer
// to it, and only its row is renewed, so renewing a thousand leases is one small
// write every third of Options.Lease.
//
// A consumer is gone when its process has died. If host says that its PID is of
// the same host, boot and PID namespace as this process, the PID is looked up.
// Otherwise the consumer is gone if it was not renewed for Options.Lease. A
// process that is stopped or starved keeps its leases, because it may still
// finish.
type consumer struct {
	id      int64 // random; 0 until the first lease
	host    string
	pid     int
	started string
	expires int64
}

// newOwnConsumer describes this process.
func newOwnConsumer() consumer {
	pid := os.Getpid()
	started, _ := processStartTime(pid)
	return consumer{host: pidSpaceID(), pid: pid, started: started}
}

// isGone reports whether the messages leased to c can be delivered to others.
func (c *consumer) isGone(self *consumer, now time.Time) bool {
	if c.host == self.host && c.started != "" && c.host != "" {
		started, ok := processStartTime(c.pid)
		return ok && started != c.started
	}
	return c.expires < now.UnixMicro()
}

// registerConsumer inserts the row of this consumer before its first lease, and
// again after another process deleted it.
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
	return wrapDBError("register consumer", err)
}

// removeConsumerAndLeases releases all leases of a consumer and deletes it.
func (t *tx) removeConsumerAndLeases(id int64) error {
	if _, err := t.stmts.releaseLeases.Exec(id); err != nil {
		return wrapDBError("release leases", err)
	}
	_, err := t.stmts.deleteConsumer.Exec(id)
	t.w.mayServe = true
	return wrapDBError("delete consumer", err)
}

// otherConsumers lists the consumers of the file except this one.
func (w *writer) otherConsumers() ([]consumer, error) {
	rows, err := w.conn.QueryContext(context.Background(), "SELECT id, host, pid, started, expires FROM owner WHERE id <> ?", w.consumer.id)
	if err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	defer rows.Close()
	var all []consumer
	for rows.Next() {
		var c consumer
		if err := rows.Scan(&c.id, &c.host, &c.pid, &c.started, &c.expires); err != nil {
			return nil, fmt.Errorf("list consumers: %w", err)
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// ReleaseLeases ends all leases in the file of a queue that no process has open: a copy,
// whose leases belong to processes that use the original.
func ReleaseLeases(path string) error {
	q, err := Open(path, Options{IgnoreLost: true, MinFreeDisk: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	err = q.transact(context.Background(), 0, func(t *tx) error {
		all, err := t.w.otherConsumers()
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := t.removeConsumerAndLeases(c.id); err != nil {
				return err
			}
		}
		t.st.Seq++ // the counters stay the same, but the transaction is a change
		return nil
	})
	if err != nil {
		err = fmt.Errorf("release leases of %s: %w", path, err)
	}
	return errors.Join(err, q.Close())
}
