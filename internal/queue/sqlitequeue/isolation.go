package sqlitequeue

import (
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// isolation ensures that a message which was lost queue.IsolateAfterLost times is the
// only one leased by this queue: it is delivered once nothing else is leased,
// and nothing else is delivered until it is acked. Each of the two waits ends
// after queue.IsolationTimeout.
type isolation struct {
	until time.Time // zero: no message is isolated or waits to be
}

func (i *isolation) active() bool { return !i.until.IsZero() }

// start begins or ends the isolation when a message is delivered.
func (i *isolation) start(suspect bool) {
	i.until = time.Time{}
	if suspect {
		i.until = time.Now().Add(queue.IsolationTimeout)
	}
}

// isSuspect reports whether l may have killed the processes that leased it.
func (t *tx) isSuspect(l leasedMessage) bool {
	return !t.w.q.opt.IgnoreLost && l.lost >= queue.IsolateAfterLost
}

// mustWait reports whether the next delivery must wait because it, or the one
// before it, is isolated.
func (t *tx) mustWait(suspect bool) (wait bool, err error) {
	i := &t.w.isolation
	if !suspect && !i.active() {
		return false, nil
	}
	leased := 0
	if id := t.w.consumer.id; id != 0 {
		if err := t.stmts.countLeased.QueryRow(id).Scan(&leased); err != nil {
			return false, dbError("count leases", err)
		}
	}
	now := time.Now()
	if leased == 0 || i.active() && now.After(i.until) {
		return false, nil
	}
	if !i.active() {
		i.until = now.Add(queue.IsolationTimeout)
	}
	t.w.nextDue = i.until
	return true, nil
}

// countLost counts a loss for each message leased by a consumer that died. It
// turns messages that were lost queue.MaxLost times into dead letters and
// returns them.
func (t *tx) countLost(consumer int64) (dead []lostMessage, err error) {
	if t.w.q.opt.IgnoreLost {
		return nil, nil
	}
	if _, err := t.stmts.addLost.Exec(consumer); err != nil {
		return nil, dbError("count lost leases", err)
	}
	if dead, err = t.listDead(consumer); err != nil {
		return nil, err
	}
	for _, m := range dead {
		t.st.Last++
		cause := queue.LostCause(m.lost)
		if _, err := t.stmts.insertLostDeadLetter.Exec(t.st.Last, string(queue.Failed), cause, t.now, m.id); err != nil {
			return nil, dbError("insert dead letter", err)
		}
		if err := t.removeMessage(m.id); err != nil {
			return nil, err
		}
		t.st.Failed += m.events
		t.countDeadLetter(queue.Failed, m.bytes+int64(len(cause)), 1)
		t.written += int(m.bytes)
	}
	return dead, nil
}

type lostMessage struct {
	id, events, bytes int64
	batch             string
	lost              int
}

// listDead lists the messages of a consumer that were lost queue.MaxLost times.
func (t *tx) listDead(consumer int64) ([]lostMessage, error) {
	rows, err := t.stmts.listLost.Query(consumer, queue.MaxLost)
	if err != nil {
		return nil, dbError("list lost messages", err)
	}
	defer rows.Close()
	var all []lostMessage
	for rows.Next() {
		var m lostMessage
		if err := rows.Scan(&m.id, &m.lost, &m.batch, &m.events, &m.bytes); err != nil {
			return nil, dbError("list lost messages", err)
		}
		all = append(all, m)
	}
	return all, dbError("list lost messages", rows.Err())
}
