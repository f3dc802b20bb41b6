package mongostore

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A sequenceGenerator generates ascending numbers that no other process generates: in the
// upper bits microseconds of the clock, or the next one if the clock has not advanced,
// and in the lower bits a number of the process, chosen at random.
type sequenceGenerator struct {
	process int64
	mu      sync.Mutex
	last    int64 // microseconds
}

// sequenceStep is the distance between two numbers of a process.
const sequenceStep = 1 << 10

func newSequenceGenerator() *sequenceGenerator {
	return &sequenceGenerator{process: rand.Int64N(sequenceStep)}
}

// next reserves n numbers, which are sequenceStep apart, and returns the first.
func (q *sequenceGenerator) next(n int) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := max(q.last+1, time.Now().UnixMicro())
	q.last = first + int64(n) - 1
	return first*sequenceStep + q.process
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
