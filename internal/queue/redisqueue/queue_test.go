package redisqueue_test

import (
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
)

var discardLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t testing.TB, url string, o redisqueue.Options) *redisqueue.Queue {
	t.Helper()
	if o.Logger == nil {
		o.Logger = discardLog
	}
	q, err := redisqueue.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func message(id string, size int) queue.Message {
	return queue.Message{ID: id, Events: 1, Payload: make([]byte, size), Agent: "agent of " + id}
}

// opener opens queues that share a server but no keys.
func opener(base, sep string, o redisqueue.Options) func(t *testing.T) queuetest.Queue {
	var n atomic.Int64
	return func(t *testing.T) queuetest.Queue {
		return open(t, fmt.Sprintf("%s%sprefix=test%d", base, sep, n.Add(1)), o)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.DurableArgs...)
	queuetest.Run(t, opener(s.URL(), "?", redisqueue.Options{}))
}

func TestConformanceOneShard(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	queuetest.Run(t, opener(s.URL(), "?", redisqueue.Options{Shards: 1}))
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, redistest.DurableArgs...)
	queuetest.Run(t, opener(c.URL(), "&", redisqueue.Options{Shards: 4}))
}

func BenchmarkQueue(b *testing.B) {
	s := redistest.Start(b, redistest.DurableArgs...)
	var n atomic.Int64
	queuetest.Benchmark(b, func(b *testing.B) queuetest.Queue {
		return open(b, fmt.Sprintf("%s?prefix=bench%d", s.URL(), n.Add(1)), redisqueue.Options{MaxBytes: 1 << 40})
	})
}
