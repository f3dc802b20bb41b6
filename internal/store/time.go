package store

import (
	"math"
	"time"
)

const microsPerMinute = int64(time.Minute / time.Microsecond)

// StartOfMinuteMicros returns the start of the minute of a time, both in microseconds.
func StartOfMinuteMicros(us int64) int64 {
	m := us / microsPerMinute
	if us%microsPerMinute < 0 {
		m--
	}
	return m * microsPerMinute
}

// TimeRangeMicros returns the microseconds, from lo up to but not including hi, that
// are neither before since nor at or after until. A zero time is no bound.
func TimeRangeMicros(since, until time.Time) (lo, hi int64) {
	lo, hi = math.MinInt64, math.MaxInt64
	if !since.IsZero() {
		lo = microsRoundedUp(since)
	}
	if !until.IsZero() {
		hi = microsRoundedUp(until)
	}
	return lo, hi
}

// microsRoundedUp rounds a time up to microseconds.
func microsRoundedUp(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}
