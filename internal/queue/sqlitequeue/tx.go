package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/picket-edr/picket/internal/queue"
)

// counters are the only row of table state: what the queue has counted and holds.
type counters struct {
	File, Seq, Last, Head, Messages, Events, DeadLetters, Bytes, RejectedBytes int64
	Accepted, Rejected, Failed, Purged, Dropped                                int64
}

const counterColumns = `file, seq, last, head, messages, events, letters, bytes, rejected_bytes,
	accepted, rejected, failed, purged, dropped`

func (st *counters) scan(row *sql.Row) error {
	return wrapDBError("read state", row.Scan(&st.File, &st.Seq, &st.Last, &st.Head, &st.Messages, &st.Events, &st.DeadLetters,
		&st.Bytes, &st.RejectedBytes, &st.Accepted, &st.Rejected, &st.Failed, &st.Purged, &st.Dropped))
}

func (st *counters) read(s *statements) error { return st.scan(s.readState.QueryRow()) }

// statements are prepared on the write connection.
type statements struct {
	readState, writeState, addRate, trimRate                                 *sql.Stmt
	insertMessage, deleteMessage, deleteLease                                *sql.Stmt
	retried, fresh, insertLease, updateLease, returnLease, nextDue, isLeased *sql.Stmt
	countLeased, addLost                                                     *sql.Stmt
	insertDeadLetter, deleteDeadLetter, readDeadLetter, requeueDeadLetter    *sql.Stmt
	insertConsumer, renewConsumer, releaseLeases, deleteConsumer             *sql.Stmt
	all                                                                      []*sql.Stmt
}

func (s *statements) prepare(ctx context.Context, c *sql.Conn) error {
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&s.readState, "SELECT " + counterColumns + " FROM state"},
		{&s.writeState, `UPDATE state SET seq = ?, last = ?, head = ?, messages = ?, events = ?, letters = ?, bytes = ?,
			rejected_bytes = ?, accepted = ?, rejected = ?, failed = ?, purged = ?, dropped = ?`},
		{&s.addRate, `INSERT INTO rate VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET received = received + excluded.received, done = done + excluded.done`},
		{&s.trimRate, "DELETE FROM rate WHERE slot < ?"},
		{&s.insertMessage, "INSERT INTO message VALUES (?, ?, ?, ?, ?)"},
		{&s.deleteMessage, "DELETE FROM message WHERE id = ? RETURNING events, length(payload)"},
		{&s.deleteLease, "DELETE FROM lease WHERE id = ?"},
		{&s.retried, `SELECT l.id, l.attempt, l.lost, length(m.payload) FROM lease l JOIN message m ON m.id = l.id
			WHERE l.owner = 0 AND l.not_before <= ? ORDER BY l.not_before, l.id LIMIT ?`},
		{&s.fresh, "SELECT id, 0, 0, length(payload) FROM message WHERE id > ? ORDER BY id LIMIT ?"},
		{&s.insertLease, "INSERT INTO lease (id, owner, not_before, attempt, cause) VALUES (?, ?, 0, 1, '')"},
		{&s.updateLease, "UPDATE lease SET owner = ?, attempt = attempt + 1 WHERE id = ?"},
		{&s.returnLease, "UPDATE lease SET owner = 0, not_before = ?, cause = ? WHERE id = ? AND owner = ? AND attempt = ?"},
		{&s.isLeased, "SELECT count(*) FROM lease WHERE id = ? AND owner = ? AND attempt = ?"},
		{&s.countLeased, "SELECT count(*) FROM lease WHERE owner = ?"},
		{&s.addLost, "UPDATE lease SET lost = lost + 1 WHERE owner = ?"},
		{&s.nextDue, "SELECT min(not_before) FROM lease WHERE owner = 0"},
		{&s.insertDeadLetter, "INSERT INTO letter VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
		{&s.deleteDeadLetter, "DELETE FROM letter WHERE id = ?"},
		{&s.readDeadLetter, "SELECT kind, events, length(payload), " + deadLetterSizeSQL + " FROM letter WHERE id = ?"},
		{&s.requeueDeadLetter, "INSERT INTO message SELECT ?, 'letter-' || id, events, ?, payload FROM letter WHERE id = ?"},
		{&s.insertConsumer, "INSERT OR IGNORE INTO owner VALUES (?, ?, ?, ?, ?)"},
		{&s.renewConsumer, "UPDATE owner SET expires = ? WHERE id = ?"},
		{&s.releaseLeases, "UPDATE lease SET owner = 0, not_before = 0 WHERE owner = ?"},
		{&s.deleteConsumer, "DELETE FROM owner WHERE id = ?"},
	} {
		stmt, err := c.PrepareContext(ctx, p.sql)
		if err != nil {
			return fmt.Errorf("prepare %q: %w", p.sql, err)
		}
		*p.to = stmt
		s.all = append(s.all, stmt)
	}
	return nil
}

func (s *statements) close() {
	for _, stmt := range s.all {
		stmt.Close()
	}
}

// A tx is the transaction of a group. Its changes to the counters are kept in st
// and written at the end.
type tx struct {
	w          *writer
	stmts      *statements
	now        int64
	st         counters
	in, out    int64 // events, for the rates
	registered bool  // the row of this consumer exists
	written    int   // payload bytes, for the checkpointer
}

// writeState writes the counters and rates, if they changed.
func (t *tx) writeState(before counters) error {
	if t.st == before {
		return nil
	}
	t.st.Seq++
	st := &t.st
	if _, err := t.stmts.writeState.Exec(st.Seq, st.Last, st.Head, st.Messages, st.Events, st.DeadLetters, st.Bytes,
		st.RejectedBytes, st.Accepted, st.Rejected, st.Failed, st.Purged, st.Dropped); err != nil {
		return wrapDBError("write state", err)
	}
	return t.addToRates()
}

// checkCapacity returns queue.ErrFull, or queue.ErrDiskFull, if there is no space for so
// many payload bytes.
func (t *tx) checkCapacity(bytes int64) error {
	switch o := &t.w.q.opt; {
	case t.w.disk.belowMinimum():
		return fmt.Errorf("less than %d bytes free on the disk of %s: %w", o.MinFreeDisk, t.w.q.path, queue.ErrDiskFull)
	case t.st.Bytes+bytes > o.MaxBytes:
		return fmt.Errorf("%d of %d bytes held: %w", t.st.Bytes, o.MaxBytes, queue.ErrFull)
	}
	return nil
}

func (t *tx) addMessage(m queue.Message) error {
	t.st.Last++
	payload := m.Payload
	if payload == nil {
		payload = []byte{}
	}
	if _, err := t.stmts.insertMessage.Exec(t.st.Last, m.ID, m.Events, t.now, payload); err != nil {
		return wrapDBError("insert message", err)
	}
	t.st.Messages++
	t.st.Events += int64(m.Events)
	t.st.Bytes += int64(len(payload))
	t.st.Accepted += int64(m.Events)
	t.in += int64(m.Events)
	t.written += len(payload)
	return nil
}

// removeMessage deletes a message and its lease, if it still exists.
func (t *tx) removeMessage(id int64) error {
	var events, size int64
	switch err := t.stmts.deleteMessage.QueryRow(id).Scan(&events, &size); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return wrapDBError("delete message", err)
	}
	if _, err := t.stmts.deleteLease.Exec(id); err != nil {
		return wrapDBError("delete lease", err)
	}
	t.st.Messages--
	t.st.Events -= events
	t.st.Bytes -= size
	t.out += events
	t.w.mayServe = t.w.mayServe || t.w.isolation.active()
	return nil
}
