package sqlitequeue

import (
	"context"
	"database/sql"
)

// checkpointBytes is how large the write-ahead log grows before it is copied
// into the file.
const checkpointBytes = 16 << 20

// A checkpointer copies the log into the file beside the writer, on a
// connection of its own, so that commits do not wait for it. Only the last
// bit, written meanwhile, is copied between two commits: then the log is all
// copied, and SQLite starts it over.
type checkpointer struct {
	db       *sql.DB
	logBytes int        // about how many bytes the log has
	written  bool       // something was written since the last look
	running  chan error // of one; nil when no copy is running
}

func newCheckpointer(db *sql.DB) *checkpointer { return &checkpointer{db: db} }

// add counts a transaction: its payloads, and the few pages around them.
func (c *checkpointer) add(payload int) {
	c.logBytes += payload + 5*16384
	c.written = true
	if c.logBytes < checkpointBytes || c.running != nil {
		return
	}
	done := make(chan error, 1)
	c.running = done
	go func() {
		_, err := c.db.Exec("PRAGMA wal_checkpoint(PASSIVE)")
		done <- err
	}()
}

// copied reports whether the copy beside the writer has ended.
func (c *checkpointer) copied() bool {
	if c.running == nil {
		return false
	}
	select {
	case <-c.running:
		c.running = nil
		return true
	default:
		return false
	}
}

// finish copies the rest on the writer's connection. An error is left for the
// next time or, if it lasts, for the next commit to find.
func (c *checkpointer) finish(conn *sql.Conn) {
	var busy, log, copied int
	err := conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &copied)
	if err == nil && busy == 0 {
		c.logBytes = max(log-copied, 0) * 16384
	}
}

// wait waits for a copy that is running.
func (c *checkpointer) wait() {
	if c.running != nil {
		<-c.running
		c.running = nil
	}
}

// checkpointIdle empties the log once nothing has been written for a while, so that an
// idle queue does not keep the room of its busiest hour.
func (c *checkpointer) checkpointIdle(conn *sql.Conn) {
	if c.written || c.running != nil || c.logBytes < restAt {
		c.written = false
		return
	}
	var busy, log, copied int
	err := conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &copied)
	if err == nil && busy == 0 {
		c.logBytes = 0
	}
}

// restAt is the least that is worth it.
const restAt = 1 << 20
