package sqlitequeue

import (
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// isolation ensures that a message which was lost queue.IsolateAfterLost times is the
// only one leased by this queue: it is delivered once nothing else is leased,
// and nothing else is delivered until it is acked. Each of the two waits ends
// after queue.MaxIsolationWait.
type isolation struct {
	until time.Time // zero: no message is isolated or waits to be
}

func (i *isolation) active() bool { return !i.until.IsZero() }

// startOrEnd begins or ends the isolation when a message is delivered.
func (i *isolation) startOrEnd(isolated bool) {
	i.until = time.Time{}
	if isolated {
		i.until = time.Now().Add(queue.MaxIsolationWait)
	}
}

// needsIsolation reports whether lease is of a message that may have killed the processes
// that leased it before.
func (t *tx) needsIsolation(lease messageLease) bool {
	return !t.w.q.opt.IgnoreLost && lease.lost >= queue.IsolateAfterLost
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
			return false, wrapDBError("count leases", err)
		}
	}
	now := time.Now()
	if leased == 0 || i.active() && now.After(i.until) {
		return false, nil
	}
	if !i.active() {
		i.until = now.Add(queue.MaxIsolationWait)
	}
	t.w.nextDue = i.until
	return true, nil
}
