package store_test

import (
	"math"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/store"
)

func TestTimeRange(t *testing.T) {
	at := func(ns int64) time.Time { return time.Unix(0, ns) }
	for _, c := range []struct {
		since, until time.Time
		lo, hi       int64
	}{
		{time.Time{}, time.Time{}, math.MinInt64, math.MaxInt64},
		{at(5000), at(7000), 5, 7},
		{at(5001), at(7001), 6, 8}, // neither 5 µs nor what is later than 7.001 µs
		{at(-1500), at(-1000), -1, -1},
	} {
		if lo, hi := store.TimeRangeMicros(c.since, c.until); lo != c.lo || hi != c.hi {
			t.Errorf("from %v to %v: %d to %d, want %d to %d", c.since, c.until, lo, hi, c.lo, c.hi)
		}
	}
}

func TestMinuteOf(t *testing.T) {
	const minute = 60_000_000
	for us, want := range map[int64]int64{0: 0, 59_999_999: 0, minute: minute, -1: -minute, -minute: -minute} {
		if got := store.StartOfMinuteMicros(us); got != want {
			t.Errorf("the minute of %d is %d, want %d", us, got, want)
		}
	}
}
