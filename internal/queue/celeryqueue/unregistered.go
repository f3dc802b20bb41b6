package celeryqueue

import (
	"sync/atomic"
	"time"
)

// unregisteredPolicy decides when picket claims tasks of a shared queue that it does not
// know: when no other worker seems to exist that may know them. They then become dead
// letters, as with a Celery worker, instead of waiting forever.
type unregisteredPolicy struct {
	since  time.Time    // since when there have been such tasks; guarded by receiveMu
	others atomic.Int64 // last heartbeat of another worker, in Unix nanoseconds; 0: none
}

// Grace periods for unregistered tasks: the first if no other worker was ever seen, the
// second if one was, because it may be restarting. Workers send heartbeats every two
// seconds.
const (
	noOtherWorkerGrace = 10 * time.Second
	otherWorkerGrace   = 5 * time.Minute
)

// RecordOtherWorker records the heartbeat of a worker of another kind, which may know
// tasks that picket does not.
func (q *Queue) RecordOtherWorker() { q.unregistered.others.Store(time.Now().UnixNano()) }

// record records whether the last claim saw unregistered tasks.
func (p *unregisteredPolicy) record(seen bool) {
	if !seen {
		p.since = time.Time{}
	} else if p.since.IsZero() {
		p.since = time.Now()
	}
}

// maxPollInterval returns the maximum interval of polls, which is longer while there are
// unregistered tasks, because skipping them is expensive.
func (p *unregisteredPolicy) maxPollInterval() time.Duration {
	if p.since.IsZero() {
		return maxPollInterval
	}
	return 5 * maxPollInterval
}

func (p *unregisteredPolicy) shouldClaim() bool {
	grace, others := noOtherWorkerGrace, p.others.Load()
	if others != 0 {
		grace = otherWorkerGrace
	}
	return !p.since.IsZero() && time.Since(p.since) > grace && time.Since(time.Unix(0, others)) > grace
}
