package mongostore

import (
	"math"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A sequence gives out numbers that only grow: microseconds of the clock, and
// the next number where the clock has not moved on.
type sequence struct {
	mu   sync.Mutex
	last int64 // the last that was given out
}

// next takes n numbers and returns the first.
func (q *sequence) next(n int) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := max(q.last+1, time.Now().UnixMicro())
	q.last = first + int64(n) - 1
	return first
}

const minute = int64(time.Minute / time.Microsecond)

// minuteOf is the start of the minute of a time in microseconds.
func minuteOf(us int64) int64 {
	m := us / minute
	if us%minute < 0 {
		m--
	}
	return m * minute
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// bounds are the times that a query selects, from since up to but not until.
func bounds(since, until time.Time) (lo, hi int64) {
	up := func(t time.Time) int64 {
		us := t.UnixMicro()
		if t.Nanosecond()%1000 != 0 {
			us++
		}
		return us
	}
	lo, hi = math.MinInt64, math.MaxInt64
	if !since.IsZero() {
		lo = up(since)
	}
	if !until.IsZero() {
		hi = up(until)
	}
	return lo, hi
}

// between is a condition on a number within bounds; none where they are open.
func between(field string, lo, hi int64) bson.D {
	var d bson.D
	if lo > math.MinInt64 {
		d = append(d, where("$gte", lo))
	}
	if hi < math.MaxInt64 {
		d = append(d, where("$lt", hi))
	}
	if d == nil {
		return nil
	}
	return bson.D{where(field, d)}
}

// A date of BSON has milliseconds; what is below goes into a field of its own.
func toDate(t time.Time) (d bson.DateTime, below int32) {
	us := t.UnixMicro()
	ms := millis(us)
	return bson.DateTime(ms), int32(us - ms*1000)
}

func fromDate(d bson.DateTime, below int32) time.Time {
	return fromMicros(int64(d)*1000 + int64(below))
}

// millis cuts microseconds to milliseconds, downwards.
func millis(us int64) int64 {
	ms := us / 1000
	if us%1000 < 0 {
		ms--
	}
	return ms
}
