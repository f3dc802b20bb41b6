package celeryqueue

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A rateLimiter limits the tasks received per second, with bursts of one second's
// tasks. Its zero value does not limit. It is safe for concurrent use.
type rateLimiter struct{ limiter atomic.Pointer[rate.Limiter] }

// setLimit sets the limit in Celery's notation: "10/s", "100/m", "1000/h", a number of
// tasks a second, or "0" for no limit.
func (l *rateLimiter) setLimit(limit string) error {
	number, per, _ := strings.Cut(strings.TrimSpace(limit), "/")
	seconds := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[per]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 || seconds == 0 {
		//lint:ignore ST1005 Celery's wording
		return fmt.Errorf("Invalid rate limit string: %q", limit)
	}
	if n == 0 {
		l.limiter.Store(nil)
		return nil
	}
	r := rate.NewLimiter(rate.Limit(n/seconds), max(int(n/seconds), 1))
	r.ReserveN(time.Now(), r.Burst()-1) // a new limit does not begin with a burst
	l.limiter.Store(r)
	return nil
}

// allowed returns how many of up to wanted tasks may be received now or, if none, how
// long to wait, at most a second.
func (l *rateLimiter) allowed(wanted int) (n int, wait time.Duration) {
	r := l.limiter.Load()
	if r == nil {
		return wanted, 0
	}
	tokens := r.Tokens()
	if tokens >= 1 {
		return min(wanted, int(tokens)), 0
	}
	return 0, min(time.Duration((1-tokens)/float64(r.Limit())*float64(time.Second))+time.Millisecond, time.Second)
}

// consume records that so many tasks were received.
func (l *rateLimiter) consume(tasks int) {
	if r := l.limiter.Load(); r != nil && tasks > 0 {
		r.ReserveN(time.Now(), min(tasks, r.Burst()))
	}
}
