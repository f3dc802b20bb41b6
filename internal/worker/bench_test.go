package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/worker"
)

// BenchmarkWork measures the worker without detection, on events of some 700
// bytes, in batches of 500 events and of one.
func BenchmarkWork(b *testing.B) {
	for _, size := range []int{500, 1} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			r := newFixture(b)
			n := (b.N + size - 1) / size
			var wg sync.WaitGroup
			for from := range 64 {
				wg.Go(func() {
					for i := from; i < n; i += 64 {
						bt := bulk(i, size)
						if err := r.Enqueue(b.Context(), queue.Message{ID: bt.ID, Events: size, Payload: bt.Encode(nil)}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.SetBytes(int64(len(bulk(0, 1).Events[0].Raw)))
			w := worker.New(r, func() worker.Detector { return nopDetector{} }, r, worker.Options{Logger: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithCancel(b.Context())
			b.ResetTimer()
			ended := make(chan error)
			go func() { ended <- w.Run(ctx) }()
			for left := n; left > 0; {
				left -= <-r.settled
			}
			b.StopTimer()
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(n*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func bulk(n, size int) picket.Batch {
	b := batch(fmt.Sprintf("b%d", n), size, "x")
	for i := range b.Events {
		b.Events[i].Raw = fmt.Appendf(nil, `{"event_id":%q,"process":{"name":"/usr/bin/program-%d","pid":%d,"command_line":"program --flag=%d %0500d"}}`,
			b.Events[i].ID, i%50, i, n*31+i, i*i)
	}
	return b
}
