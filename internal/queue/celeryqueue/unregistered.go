package celeryqueue

import (
	"sync/atomic"
	"time"
)

// unregisteredClaimPolicy decides when picket claims tasks of a shared queue that it does not
// know: when no other worker seems to exist that may know them. They then become dead
// letters, as with a Celery worker, instead of waiting forever.
type unregisteredClaimPolicy struct {
	since  time.Time    // since when there have been such tasks; guarded by receiveMu
	others atomic.Int64 // last heartbeat of another worker, in Unix nanoseconds; 0: none
}

// Grace periods for unregistered tasks: the first if no other worker was ever seen, the
// second if one was, because it may be restarting. Workers send heartbeats every two
// seconds.
const (
	claimGraceNoOtherWorker   = 10 * time.Second
	claimGraceOtherWorkerSeen = 5 * time.Minute
)

// RecordOtherWorker records the heartbeat of a worker of another kind, which may know
// tasks that picket does not.
func (q *Queue) RecordOtherWorker() { q.unregistered.others.Store(time.Now().UnixNano()) }

// recordClaim records whether the last claim saw unregistered tasks.
func (p *unregisteredClaimPolicy) recordClaim(sawUnregistered bool) {
	if !sawUnregistered {
		p.since = time.Time{}
	} else if p.since.IsZero() {
		p.since = time.Now()
	}
}

// maxPollInterval returns the maximum interval of polls, which is longer while there are
// unregistered tasks, because skipping them is expensive.
func (p *unregisteredClaimPolicy) maxPollInterval() time.Duration {
	if p.since.IsZero() {
		return maxPollInterval
	}
	return 5 * maxPollInterval
}

func (p *unregisteredClaimPolicy) shouldClaim() bool {
	grace, others := claimGraceNoOtherWorker, p.others.Load()
	if others != 0 {
		grace = claimGraceOtherWorkerSeen
	}
	return !p.since.IsZero() && time.Since(p.since) > grace && time.Since(time.Unix(0, others)) > grace
}
