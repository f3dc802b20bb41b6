package sqlitequeue

import (
	"context"
	"database/sql"
	"fmt"
)

// checkpointLogBytes is the size of the write-ahead log at which it is copied into
// the file.
const checkpointLogBytes = 16 << 20

// A checkpointer copies the write-ahead log into the file on a connection of its
// own, so that commits do not wait for it. Only what was committed during the
// copy is copied on the writer's connection, between two commits. After that the
// log is completely copied, and SQLite starts it over.
type checkpointer struct {
	db       *sql.DB
	logBytes int        // approximate size of the log
	written  bool       // since the last truncateIfIdle
	running  chan error // capacity 1; nil when no copy is running
}

func newCheckpointer(db *sql.DB) *checkpointer { return &checkpointer{db: db} }

// countCommit counts a transaction of so many payload bytes, and starts a copy if the
// log is large enough.
func (c *checkpointer) countCommit(payloadBytes int) {
	c.logBytes += payloadBytes + 5*16384
	c.written = true
	if c.logBytes < checkpointLogBytes || c.running != nil {
		return
	}
	done := make(chan error, 1)
	c.running = done
	go func() {
		_, err := c.db.Exec("PRAGMA wal_checkpoint(PASSIVE)")
		done <- err
	}()
}

// clearEndedCopy reports whether a copy has ended since the last call.
func (c *checkpointer) clearEndedCopy() (ended bool) {
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

// copyRest copies the rest on the writer's connection. Errors are ignored: the next
// attempt may succeed, and otherwise a commit will fail.
func (c *checkpointer) copyRest(conn *sql.Conn) {
	var busy, log, copied int
	err := conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &copied)
	if err == nil && busy == 0 {
		c.logBytes = max(log-copied, 0) * 16384
	}
}

// wait waits for a running copy to end.
func (c *checkpointer) wait() {
	if c.running != nil {
		<-c.running
		c.running = nil
	}
}

// truncateIfIdle truncates the log after a second without writes, so that an idle
// queue returns the disk space of its busiest hour.
func (c *checkpointer) truncateIfIdle(conn *sql.Conn) {
	if c.written || c.running != nil || c.logBytes < minTruncateLogBytes {
		c.written = false
		return
	}
	// A reader, such as a backup, may keep the log in use for long. Without a timeout
	// of 0, the queue would wait for it.
	ctx := context.Background()
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return
	}
	var busy, log, copied int
	err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &copied)
	if err == nil && busy == 0 {
		c.logBytes = 0
	}
	conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
}

// minTruncateLogBytes is the smallest log that is worth truncating.
const minTruncateLogBytes = 1 << 20
