package sqlitequeue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

var _ queue.Movable = (*Queue)(nil)

// A moveDedup is what a queue held before messages were moved to it: an earlier move that
// was interrupted may have added some of them.
type moveDedup struct {
	mu          sync.Mutex
	loaded      bool
	waiting     map[string]bool // IDs of the messages that waited when the move began
	deadLetters map[string]int  // how many of the newest dead letters had a ContentHash then
}

// maxDedupDeadLetters is how many of the newest dead letters are compared with those that
// are added. An interrupted move left at most one page of both queues.
const maxDedupDeadLetters = 1000

// loadMoveDedup reads what the queue holds, once.
func (q *Queue) loadMoveDedup(ctx context.Context) (*moveDedup, error) {
	m := &q.moveDedup
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded {
		return m, nil
	}
	m.waiting, m.deadLetters = make(map[string]bool), make(map[string]int)
	rows, err := q.readDB.QueryContext(ctx, "SELECT batch FROM message")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		m.waiting[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	err = q.eachDeadLetter(ctx, "ORDER BY id DESC LIMIT ?", maxDedupDeadLetters, func(l *queue.DeadLetter) bool {
		m.deadLetters[l.ContentHash()]++
		return true
	})
	m.loaded = err == nil
	return m, err
}

// eachDeadLetter calls f with dead letters, in an order of the table and up to a limit,
// until f returns false.
func (q *Queue) eachDeadLetter(ctx context.Context, orderSQL string, limit int, f func(*queue.DeadLetter) bool) error {
	rows, err := q.readDB.QueryContext(ctx, "SELECT id, kind, cause, agent, event, events, time, payload FROM letter "+orderSQL, limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l queue.DeadLetter
		var at int64
		if err := rows.Scan(&l.ID, &l.Reason, &l.Cause, &l.AgentID, &l.EventID, &l.Events, &at, &l.Payload); err != nil {
			return err
		}
		l.Time = time.UnixMicro(at).UTC()
		if !f(&l) {
			return nil
		}
	}
	return rows.Err()
}

// EnqueueAll implements queue.Movable. It leaves out messages that waited already when
// it was first called.
func (q *Queue) EnqueueAll(ctx context.Context, rs ...queue.EnqueueRequest) error {
	known, err := q.loadMoveDedup(ctx)
	if err != nil {
		return fmt.Errorf("enqueue %d batches: %w", len(rs), err)
	}
	size := 0
	for i := range rs {
		if n := len(rs[i].Message.Payload); int64(n) > q.opt.MaxBytes || n > maxPayloadBytes {
			return fmt.Errorf("enqueue batch %s of %d bytes: larger than the queue allows: %w", rs[i].Message.ID, n, picket.ErrInvalid)
		}
		size += len(rs[i].Message.Payload)
	}
	err = q.transact(ctx, size, func(t *tx) error {
		if err := t.checkCapacity(int64(size)); err != nil {
			return err
		}
		for i := range rs {
			if known.waiting[rs[i].Message.ID] {
				continue
			}
			if rs[i].Message.Events > 0 {
				if err := t.addMessage(rs[i].Message); err != nil {
					return err
				}
			}
			if err := t.addRejected(rs[i].Rejected); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("enqueue %d batches: %w", len(rs), err)
	}
	return nil
}

// AddDeadLetters implements queue.Movable.
func (q *Queue) AddDeadLetters(ctx context.Context, ls ...queue.DeadLetter) error {
	known, err := q.loadMoveDedup(ctx)
	if err != nil {
		return fmt.Errorf("add dead letters: %w", err)
	}
	var added []*queue.DeadLetter
	size := int64(0)
	known.mu.Lock()
	for i := range ls {
		if hash := ls[i].ContentHash(); known.deadLetters[hash] > 0 {
			known.deadLetters[hash]--
			continue
		}
		added = append(added, &ls[i])
		size += deadLetterBytes(&ls[i])
	}
	known.mu.Unlock()
	err = q.transact(ctx, int(size), func(t *tx) error {
		if err := t.checkCapacity(size); err != nil {
			return err
		}
		for _, l := range added {
			t.st.add(queue.CountersOfDeadLetter(l.Reason, int64(l.Events)))
			if err := t.addDeadLetter(l, l.Reason); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add dead letters: %w", err)
	}
	return nil
}

func (st *counters) add(c queue.Counters) {
	st.Accepted += c.Accepted
	st.Rejected += c.Rejected
	st.Failed += c.Failed
	st.Purged += c.Purged
	st.Dropped += c.Dropped
}

// AddCounters implements queue.Movable.
func (q *Queue) AddCounters(ctx context.Context, c queue.Counters) error {
	err := q.transact(ctx, 0, func(t *tx) error {
		t.st.add(c)
		return nil
	})
	if err != nil {
		return fmt.Errorf("add counters: %w", err)
	}
	return nil
}

// RemoveMoved implements queue.Movable.
func (q *Queue) RemoveMoved(ctx context.Context, ds ...queue.Delivery) error {
	err := q.transact(ctx, 0, func(t *tx) error {
		before := t.st.Events
		for i := range ds {
			if err := t.removeMessage(ds[i].Receipt); err != nil {
				return err
			}
		}
		t.st.Accepted -= before - t.st.Events
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove %d moved messages: %w", len(ds), err)
	}
	return nil
}

// OldestDeadLetters implements queue.Movable.
func (q *Queue) OldestDeadLetters(ctx context.Context, n int) (ls []queue.DeadLetter, err error) {
	bytes := 0
	err = q.eachDeadLetter(ctx, "ORDER BY id LIMIT ?", n, func(l *queue.DeadLetter) bool {
		if bytes += l.EstimateListedBytes(); len(ls) > 0 && bytes > queue.MaxDeadLetterPageBytes {
			return false
		}
		ls = append(ls, *l)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return ls, nil
}

// RemoveMovedDeadLetters implements queue.Movable.
func (q *Queue) RemoveMovedDeadLetters(ctx context.Context, ls ...queue.DeadLetter) error {
	if len(ls) == 0 {
		return nil
	}
	ids := make([]int64, len(ls))
	for i := range ls {
		ids[i] = ls[i].ID
	}
	_, err := q.removeDeadLetters(ctx, "remove moved dead letters", ids, func(t *tx, _ int64, l *deadLetterInfo) (bool, error) {
		t.st.add(queue.CountersOfDeadLetter(l.reason, l.events).Negated())
		return true, nil
	})
	return err
}
