package celeryqueue

import (
	"sync"
	"time"
)

// unregisteredPolicy decides when picket claims tasks of a shared queue that it does not
// know: when no other worker seems to exist that may know them. They then become dead
// letters, as with a Celery worker, instead of waiting forever.
type unregisteredPolicy struct {
	mu     sync.Mutex
	since  time.Time // since when there have been such tasks
	others time.Time // last heartbeat of another worker
}

// Grace periods for unregistered tasks: the first if no other worker was ever seen, the
// second if one was, because it may be restarting. Workers send heartbeats every two
// seconds.
const (
	noOtherWorkerGrace = 10 * time.Second
	otherWorkerGrace   = 5 * time.Minute
)

// recordUnregistered records whether the last claim saw unregistered tasks.
func (s *unregisteredPolicy) recordUnregistered(seen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !seen:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = time.Now()
	}
}

// recordOtherWorker records the heartbeat of another worker.
func (s *unregisteredPolicy) recordOtherWorker() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = time.Now()
}

// maxPollInterval returns the maximum interval of polls, which is longer while there are
// unregistered tasks, because skipping them is expensive.
func (s *unregisteredPolicy) maxPollInterval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return maxPollInterval
	}
	return 5 * maxPollInterval
}

// shouldClaim reports whether to claim unregistered tasks.
func (s *unregisteredPolicy) shouldClaim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	grace := noOtherWorkerGrace
	if !s.others.IsZero() {
		grace = otherWorkerGrace
	}
	return !s.since.IsZero() && time.Since(s.since) > grace && time.Since(s.others) > grace
}
