package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// deadLetterSizeSQL computes the bytes of a dead letter that count towards
// MaxBytes, as deadLetterBytes does.
const deadLetterSizeSQL = "length(payload) + length(CAST(cause AS BLOB)) + length(CAST(agent AS BLOB)) + length(CAST(event AS BLOB))"

func deadLetterBytes(l *queue.DeadLetter) int64 {
	return int64(len(l.Payload) + len(l.Cause) + len(l.AgentID) + len(l.EventID))
}

// Bury implements queue.Queue.
func (q *Queue) Bury(ctx context.Context, d queue.Delivery, deadLetters ...queue.DeadLetter) error {
	size := 0
	for i := range deadLetters {
		size += int(deadLetterBytes(&deadLetters[i]))
	}
	err := q.transact(ctx, size, func(t *tx) error {
		held, err := t.isLeased(d)
		if err != nil || !held {
			return err
		}
		if err := t.removeMessage(d.Receipt); err != nil {
			return err
		}
		for i := range deadLetters {
			t.st.Failed += int64(deadLetters[i].Events)
			if err := t.addDeadLetter(&deadLetters[i], queue.Failed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bury batch %s: %w", d.ID, err)
	}
	return nil
}

// isLeased reports whether this queue still holds the lease of d.
func (t *tx) isLeased(d queue.Delivery) (bool, error) {
	var n int
	err := t.stmts.isLeased.QueryRow(d.Receipt, t.w.consumer.id, d.Attempt).Scan(&n)
	return n == 1, wrapDBError("look up lease", err)
}

// addRejected counts the events that intake rejected and stores their dead
// letters. When there is no space, it only counts them: the sender got the error.
func (t *tx) addRejected(deadLetters []queue.DeadLetter) error {
	limit := t.w.q.opt.MaxBytes
	for i := range deadLetters {
		l := &deadLetters[i]
		t.st.Rejected += int64(l.Events)
		size := deadLetterBytes(l)
		if t.st.RejectedBytes+size > limit/rejectedBytesDivisor || t.st.Bytes+size > limit {
			t.st.Dropped += int64(l.Events)
			continue
		}
		if err := t.addDeadLetter(l, queue.Rejected); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) addDeadLetter(l *queue.DeadLetter, reason queue.DeadReason) error {
	t.st.Last++
	id, at := t.st.Last, t.now
	if !l.Time.IsZero() {
		at = l.Time.UnixMicro()
	}
	payload := l.Payload
	if payload == nil {
		payload = []byte{}
	}
	if _, err := t.stmts.insertDeadLetter.Exec(id, string(reason), l.Cause, l.AgentID, l.EventID, l.Events, at, payload); err != nil {
		return wrapDBError("insert dead letter", err)
	}
	t.countDeadLetter(reason, deadLetterBytes(l), 1)
	t.written += len(l.Payload)
	return nil
}

// countDeadLetter counts a dead letter that was added (sign 1) or removed (-1).
func (t *tx) countDeadLetter(reason queue.DeadReason, bytes, sign int64) {
	t.st.DeadLetters += sign
	t.st.Bytes += sign * bytes
	if reason == queue.Rejected {
		t.st.RejectedBytes += sign * bytes
	}
}

// DeadLetters implements queue.Inspector.
func (q *Queue) DeadLetters(ctx context.Context, before int64, n int) (queue.DeadLetterPage, error) {
	page, err := q.listDeadLetters(ctx, before, n)
	if err != nil {
		return queue.DeadLetterPage{}, fmt.Errorf("list dead letters: %w", err)
	}
	return page, nil
}

func (q *Queue) listDeadLetters(ctx context.Context, beforeID int64, limit int) (page queue.DeadLetterPage, err error) {
	if beforeID <= 0 {
		beforeID = math.MaxInt64
	}
	rows, err := q.readDB.QueryContext(ctx, `SELECT id, kind, cause, agent, event, events, time, CASE WHEN length(payload) <= ? THEN payload END FROM letter
		WHERE id < ? ORDER BY id DESC LIMIT ?`, queue.MaxListedPayloadBytes, beforeID, limit+1)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	bytes := 0
	for rows.Next() {
		var l queue.DeadLetter
		var at int64
		if err := rows.Scan(&l.ID, &l.Reason, &l.Cause, &l.AgentID, &l.EventID, &l.Events, &at, &l.Payload); err != nil {
			return page, err
		}
		l.Time = time.UnixMicro(at).UTC()
		bytes += l.EstimateListedBytes()
		if have := len(page.DeadLetters); have == limit || have > 0 && bytes > queue.MaxDeadLetterPageBytes {
			if have > 0 {
				page.Next = page.DeadLetters[have-1].ID
			}
			return page, nil
		}
		page.DeadLetters = append(page.DeadLetters, l)
	}
	return page, rows.Err()
}

// Requeue implements queue.Inspector.
func (q *Queue) Requeue(ctx context.Context, ids ...int64) (int, error) {
	return q.removeDeadLetters(ctx, "requeue dead letters", ids, func(t *tx, id int64, l *deadLetterInfo) (bool, error) {
		if l.payload == 0 {
			return false, nil
		}
		t.st.Last++
		if _, err := t.stmts.requeueDeadLetter.Exec(t.st.Last, t.now, id); err != nil {
			return false, wrapDBError("requeue dead letter", err)
		}
		t.st.Messages++
		t.st.Events += l.events
		t.st.Bytes += l.payload
		t.in += l.events
		t.written += int(l.payload)
		t.st.Accepted += l.events
		return true, nil
	})
}

// Purge implements queue.Inspector.
func (q *Queue) Purge(ctx context.Context, ids ...int64) (int, error) {
	return q.removeDeadLetters(ctx, "purge dead letters", ids, func(t *tx, _ int64, l *deadLetterInfo) (bool, error) {
		t.st.Purged += l.events
		return true, nil
	})
}

// deadLetterInfo holds the columns of a dead letter that the counters need.
type deadLetterInfo struct {
	reason                queue.DeadReason
	events, payload, size int64
}

// removeDeadLetters runs f on the dead letters with the given IDs, or on all that
// exist now, and deletes those for which f returns true. It returns how many it
// deleted. It uses several transactions, so that it does not delay other
// operations for long.
func (q *Queue) removeDeadLetters(ctx context.Context, doing string, ids []int64, f func(*tx, int64, *deadLetterInfo) (bool, error)) (removed int, err error) {
	const chunk = 200
	all := len(ids) == 0
	next, n := int64(math.MaxInt64), 0
	for {
		if all {
			var err error
			if ids, err = q.deadLetterIDs(ctx, next, chunk); err != nil {
				return n, fmt.Errorf("%s: %w", doing, err)
			}
		}
		if len(ids) == 0 {
			return n, nil
		}
		part := ids[:min(chunk, len(ids))]
		ids, next = ids[len(part):], part[len(part)-1]
		did := 0
		err := q.transact(ctx, 0, func(t *tx) error {
			for _, id := range part {
				ok, err := t.removeDeadLetter(id, f)
				if err != nil {
					return err
				}
				if ok {
					did++
				}
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("%s: %w", doing, err)
		}
		n += did
	}
}

// deadLetterIDs lists the IDs of dead letters below beforeID, newest first. New
// dead letters get higher IDs, so paging through all of them ends.
func (q *Queue) deadLetterIDs(ctx context.Context, beforeID int64, limit int) ([]int64, error) {
	rows, err := q.readDB.QueryContext(ctx, "SELECT id FROM letter WHERE id < ? ORDER BY id DESC LIMIT ?", beforeID, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// removeDeadLetter runs f on a dead letter and deletes it if f returns true.
func (t *tx) removeDeadLetter(id int64, f func(*tx, int64, *deadLetterInfo) (bool, error)) (removed bool, err error) {
	var l deadLetterInfo
	err = t.stmts.readDeadLetter.QueryRow(id).Scan(&l.reason, &l.events, &l.payload, &l.size)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, wrapDBError("read dead letter", err)
	}
	if ok, err := f(t, id, &l); !ok || err != nil {
		return false, err
	}
	if _, err := t.stmts.deleteDeadLetter.Exec(id); err != nil {
		return false, wrapDBError("delete dead letter", err)
	}
	t.countDeadLetter(l.reason, l.size, -1)
	return true, nil
}
