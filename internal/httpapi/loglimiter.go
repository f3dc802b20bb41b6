package httpapi

import (
	"log/slog"
	"sync"
	"time"
)

// A logLimiter lets maxLoggedRequestsPerMinute be logged one by one, and logs how many more
// there were of each status. It is safe for concurrent use.
type logLimiter struct {
	log *slog.Logger

	mu     sync.Mutex
	start  time.Time // of the minute
	lines  int
	others map[int]int64 // requests that are not logged one by one, by status
}

func newLogLimiter(log *slog.Logger) *logLimiter {
	return &logLimiter{log: log, others: make(map[int]int64)}
}

// allow reports whether to log a request. If not, it counts it.
func (l *logLimiter) allow(status int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.start) >= logLimitPeriod && len(l.others) == 0 {
		l.start, l.lines = now, 0
	}
	if l.lines < maxLoggedRequestsPerMinute {
		l.lines++
		return true
	}
	if len(l.others) == 0 {
		time.AfterFunc(logLimitPeriod-time.Since(l.start), l.summarize)
	}
	l.others[status]++
	return false
}

// summarize logs the counts of a minute and begins the next.
func (l *logLimiter) summarize() {
	l.mu.Lock()
	others := l.others
	l.start, l.lines, l.others = time.Now(), 0, make(map[int]int64)
	l.mu.Unlock()
	for status, n := range others {
		l.log.Warn("further requests failed in the last minute", "status", status, "requests", n)
	}
}
