package celeryqueue_test

import (
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue/celerytest"
	"github.com/picket-edr/picket/internal/redistest"
)

// BenchmarkTasks takes tasks that a Python producer published, makes events of
// them, writes their results and acknowledges them: all that a worker does but
// to detect and to store. ns/op and B/op are of one task.
func BenchmarkTasks(b *testing.B) {
	s := redistest.Start(b)
	c := s.Client()
	q := celerytest.Open(b, s.URL(), celeryqueue.Options{})
	var part []any
	for i := range b.N {
		t := celerytest.NewEventTask("")
		part = append(part, t.Append(nil))
		if len(part) == 1000 || i == b.N-1 {
			if err := c.LPush(b.Context(), "celery", part...).Err(); err != nil {
				b.Fatal(err)
			}
			part = part[:0]
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for done := 0; done < b.N; {
		ds, err := q.Receive(b.Context(), 10)
		if err != nil {
			b.Fatal(err)
		}
		if err := q.Ack(b.Context(), ds...); err != nil {
			b.Fatal(err)
		}
		for _, d := range ds {
			done += d.Events
		}
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "tasks/s")
}
