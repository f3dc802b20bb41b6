package queuetest

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/queue"
)

// Benchmark measures a queue with many concurrent callers, for small messages, like
// single events, and large ones, like full batches.
func Benchmark(b *testing.B, open func(b *testing.B) Queue) {
	for _, c := range []struct {
		name string
		size int
	}{{"200B", 200}, {"64KiB", 64 << 10}} {
		b.Run("Enqueue/"+c.name, func(b *testing.B) { benchEnqueue(b, open(b), c.size) })
		b.Run("ReceiveAck/"+c.name, func(b *testing.B) { benchReceive(b, open(b), c.size) })
		b.Run("Both/"+c.name, func(b *testing.B) { benchEnqueueAndReceive(b, open(b), c.size) })
	}
}

const benchCallers = 64

// enqueueMessages enqueues b.N messages from many goroutines, and returns how long each took.
func enqueueMessages(b *testing.B, q Queue, payloadBytes int) []time.Duration {
	p := messageOfSize("bench", payloadBytes).Payload
	took := make([]time.Duration, b.N)
	next := make(chan int)
	var wg sync.WaitGroup
	for range benchCallers {
		wg.Go(func() {
			for i := range next {
				start := time.Now()
				if err := q.Enqueue(b.Context(), queue.Message{ID: strconv.Itoa(i), Events: 1, Payload: p}); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(start)
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	return took
}

func benchEnqueue(b *testing.B, q Queue, payloadBytes int) {
	b.SetBytes(int64(payloadBytes))
	b.ResetTimer()
	took := enqueueMessages(b, q, payloadBytes)
	b.StopTimer()
	reportLatencies(b, took)
}

func reportLatencies(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// drain receives and acks so many messages from two goroutines.
func drain(b *testing.B, q Queue, messages int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				ds, err := q.Receive(ctx, 64)
				if err != nil {
					if ctx.Err() == nil {
						b.Error(err)
						cancel()
					}
					return
				}
				if err := q.Ack(context.WithoutCancel(ctx), ds...); err != nil {
					b.Error(err)
				}
				mu.Lock()
				if messages -= len(ds); messages <= 0 {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func benchReceive(b *testing.B, q Queue, payloadBytes int) {
	b.SetBytes(int64(payloadBytes))
	enqueueMessages(b, q, payloadBytes)
	b.ResetTimer()
	drain(b, q, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

func benchEnqueueAndReceive(b *testing.B, q Queue, payloadBytes int) {
	b.SetBytes(int64(payloadBytes))
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() { drain(b, q, b.N) })
	took := enqueueMessages(b, q, payloadBytes)
	wg.Wait()
	b.StopTimer()
	reportLatencies(b, took)
}
