package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// Stats implements queue.Inspector. It reads one snapshot of the file.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	tx, err := q.readDB.BeginTx(ctx, nil)
	if err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: %w", err)
	}
	defer tx.Rollback()
	var st counters
	if err := st.scan(tx.QueryRowContext(ctx, "SELECT "+counterColumns+" FROM state")); err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: %w", err)
	}
	s := queue.Stats{
		Dead: st.DeadLetters, Bytes: st.Bytes, MaxBytes: q.opt.MaxBytes,
		Accepted: st.Accepted, Rejected: st.Rejected, Failed: st.Failed, Purged: st.Purged, Dropped: st.Dropped,
	}
	if err := tx.QueryRowContext(ctx, `SELECT count(*), ifnull(sum(m.events), 0) FROM lease l JOIN message m ON m.id = l.id
		WHERE l.owner <> 0`).Scan(&s.Leased, &s.LeasedEvents); err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: count leases: %w", err)
	}
	s.Pending, s.PendingEvents = st.Messages-s.Leased, st.Events-s.LeasedEvents
	now := time.Now()
	var oldest int64
	err = tx.QueryRowContext(ctx, "SELECT enqueued FROM message ORDER BY id LIMIT 1").Scan(&oldest)
	switch {
	case err == nil:
		s.OldestAge = max(now.Sub(time.UnixMicro(oldest)).Seconds(), 0)
	case !errors.Is(err, sql.ErrNoRows):
		return queue.Stats{}, fmt.Errorf("read queue: find the oldest message: %w", err)
	}
	if s.InRate, s.OutRate, err = eventsPerSecond(ctx, tx, now.UnixMicro()); err != nil {
		return queue.Stats{}, fmt.Errorf("read queue: %w", err)
	}
	return s, nil
}

// Peek implements queue.Inspector.
func (q *Queue) Peek(ctx context.Context, n int) ([]queue.Delivery, error) {
	rows, err := q.readDB.QueryContext(ctx, `SELECT m.id, m.batch, m.events, m.enqueued, m.payload, ifnull(l.attempt, 0) + 1
		FROM message m LEFT JOIN lease l ON l.id = m.id WHERE l.owner IS NULL OR l.owner = 0 ORDER BY m.id LIMIT ?`, n)
	if err != nil {
		return nil, fmt.Errorf("peek: %w", err)
	}
	defer rows.Close()
	var all []queue.Delivery
	for rows.Next() {
		var d queue.Delivery
		var at int64
		if err := rows.Scan(&d.Receipt, &d.ID, &d.Events, &at, &d.Payload, &d.Attempt); err != nil {
			return nil, fmt.Errorf("peek: %w", err)
		}
		d.Enqueued = time.UnixMicro(at).UTC()
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("peek: %w", err)
	}
	return all, nil
}
