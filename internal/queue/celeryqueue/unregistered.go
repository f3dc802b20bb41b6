package celeryqueue

import (
	"sync"
	"time"
)

// unregisteredTasks tells when tasks that picket does not know, on a queue that it
// shares, are for nobody: then they become dead letters, as they would with a
// Celery worker, instead of waiting for ever.
type unregisteredTasks struct {
	mu     sync.Mutex
	since  time.Time // when some were seen first that are still there
	others time.Time // when a worker was heard last that may know them
}

// How long strange tasks wait for a worker to show itself, which it does every
// two seconds: where none ever did, and where one did before, for it may be
// being replaced.
const (
	unclaimedGrace   = 10 * time.Second
	otherWorkerGrace = 5 * time.Minute
)

// sawUnregistered notes how many strange tasks the last look found.
func (s *unregisteredTasks) sawUnregistered(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case n == 0:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = time.Now()
	}
}

// sawOtherWorker notes that a worker of another kind shows itself.
func (s *unregisteredTasks) sawOtherWorker() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = time.Now()
}

// pollInterval is how long to wait at most before looking again: looking past
// strange tasks is dear.
func (s *unregisteredTasks) pollInterval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return maxPollInterval
	}
	return 5 * maxPollInterval
}

// shouldClaim reports whether strange tasks are to be taken too.
func (s *unregisteredTasks) shouldClaim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	patience := unclaimedGrace
	if !s.others.IsZero() {
		patience = otherWorkerGrace
	}
	return !s.since.IsZero() && time.Since(s.since) > patience && time.Since(s.others) > patience
}
