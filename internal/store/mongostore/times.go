package mongostore

import (
	"math"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A sequenceGenerator generates ascending numbers: microseconds of the clock, or
// the next number if the clock has not advanced.
type sequenceGenerator struct {
	mu   sync.Mutex
	last int64
}

// next reserves n numbers and returns the first.
func (q *sequenceGenerator) next(n int) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := max(q.last+1, time.Now().UnixMicro())
	q.last = first + int64(n) - 1
	return first
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// elemBetween returns the condition that a number is at least lo and less than hi,
// where those are bounds.
func elemBetween(field string, lo, hi int64) bson.D {
	var d bson.D
	if lo > math.MinInt64 {
		d = append(d, bsonElem("$gte", lo))
	}
	if hi < math.MaxInt64 {
		d = append(d, bsonElem("$lt", hi))
	}
	if d == nil {
		return nil
	}
	return bson.D{bsonElem(field, d)}
}

// toDate returns a time as a BSON date, which has milliseconds, and the
// microseconds below them.
func toDate(t time.Time) (d bson.DateTime, below int32) {
	us := t.UnixMicro()
	ms := millisOfMicros(us)
	return bson.DateTime(ms), int32(us - ms*1000)
}

func fromDate(d bson.DateTime, below int32) time.Time {
	return fromMicros(int64(d)*1000 + int64(below))
}

// millisOfMicros rounds microseconds down to milliseconds.
func millisOfMicros(us int64) int64 {
	ms := us / 1000
	if us%1000 < 0 {
		ms--
	}
	return ms
}
