package celeryqueue

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A limiter bounds how many tasks a worker takes a second: a bucket of one
// second's tasks, one at least. Its zero value bounds nothing.
type limiter struct {
	mu     sync.Mutex
	rate   float64 // a second; 0: no bound
	tokens float64
	filled time.Time
}

// set sets the rate to one in Celery's words: "10/s", "100/m", "1000/h", a
// number of tasks a second, or "0" for no bound.
func (l *limiter) set(text string) error {
	number, per, found := strings.Cut(strings.TrimSpace(text), "/")
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[per]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 || found && !known {
		//lint:ignore ST1005 Celery's words
		return fmt.Errorf("Invalid rate limit string: %q", text)
	}
	if !found {
		seconds = 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.tokens, l.filled = n/seconds, 0, time.Now()
	if l.rate > 0 {
		l.tokens = 1
	}
	return nil
}

// allowed returns how many tasks of most may be taken now, and if that is none
// how long to wait.
func (l *limiter) allowed(most int) (int, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate <= 0 {
		return most, 0
	}
	now := time.Now()
	l.tokens = min(l.tokens+l.rate*now.Sub(l.filled).Seconds(), max(l.rate, 1))
	l.filled = now
	if l.tokens >= 1 {
		return min(most, int(l.tokens)), 0
	}
	return 0, min(time.Duration((1-l.tokens)/l.rate*float64(time.Second))+time.Millisecond, time.Second)
}

// took says how many were taken.
func (l *limiter) took(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate > 0 {
		l.tokens -= float64(n)
	}
}
