//go:build unix

package diskbuffer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/diskbuffer"
	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

var discardLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, url, path string, maxBytes int64) *diskbuffer.Queue {
	t.Helper()
	next, err := redisqueue.Open(t.Context(), url, redisqueue.Options{Lazy: true, Lease: 2 * time.Second, Logger: discardLog})
	testenv.Check(t, err)
	s, err := sqlitequeue.Open(path, sqlitequeue.Options{MaxBytes: maxBytes, Logger: discardLog})
	testenv.Check(t, err)
	q, err := diskbuffer.New(next, s, diskbuffer.Options{Deduplicator: next, Logger: discardLog})
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, q.Close()) })
	return q
}

func message(agent, n int) queue.Message {
	return queue.Message{ID: fmt.Sprintf("%d-%04d", agent, n), Events: 1, Payload: make([]byte, 300), Agent: fmt.Sprint("agent", agent)}
}

// In front of a queue that is reachable, nothing changes.
func TestConformance(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.DurableArgs...)
	var mu sync.Mutex
	n := 0
	queuetest.Run(t, func(t *testing.T) queuetest.Queue {
		mu.Lock()
		defer mu.Unlock()
		n++
		return open(t, fmt.Sprintf("%s?prefix=t%d", s.URL(), n), filepath.Join(t.TempDir(), "buffer.db"), 0)
	})
}

// TestOutages: Enqueue works whatever happens to Redis, and every batch arrives, in
// order for each agent.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.DurableArgs...)
	q := open(t, s.URL(), filepath.Join(t.TempDir(), "buffer.db"), 0)
	const agents = 5
	var mu sync.Mutex
	sent := make([]int, agents)
	sending, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for a := range agents {
		wg.Go(func() {
			for n := 0; sending.Err() == nil; n++ {
				if err := q.Enqueue(t.Context(), message(a, n)); err != nil {
					t.Errorf("intake failed: %v", err)
					return
				}
				mu.Lock()
				sent[a] = n + 1
				mu.Unlock()
				select {
				case <-sending.Done():
				case <-time.After(2 * time.Millisecond):
				}
			}
		})
	}
	progress := func(n int) {
		t.Helper()
		mu.Lock()
		from := slices.Clone(sent)
		mu.Unlock()
		testenv.Until(t, "intake goes on", func() bool {
			mu.Lock()
			defer mu.Unlock()
			for a := range sent {
				if sent[a] < from[a]+n {
					return false
				}
			}
			return true
		})
	}
	caughtUp := func() {
		t.Helper()
		testenv.Until(t, "the buffer is forwarded", func() bool { return q.Buffered() == 0 })
	}
	progress(20)
	for range 2 {
		s.Kill()
		progress(20)
		if q.Buffered() == 0 {
			t.Error("nothing is buffered while Redis is away")
		}
		s.StartAgain()
		caughtUp()
	}
	s.Pause()
	progress(20)
	s.Resume()
	caughtUp()
	progress(20)
	stop()
	wg.Wait()
	caughtUp()
	t.Logf("sent %v", sent)

	// A batch that timed out while the server was paused may be enqueued twice.
	// The first delivery counts.
	next := make([]int, agents)
	for slices.Compare(next, sent) != 0 {
		ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
		ds, err := q.Receive(ctx, 100)
		cancel()
		if err != nil {
			t.Fatalf("received %v of %v: %v", next, sent, err)
		}
		for _, d := range ds {
			var a, n int
			fmt.Sscanf(d.ID, "%d-%d", &a, &n)
			if n > next[a] {
				t.Fatalf("agent %d: batch %d came before %d", a, n, next[a])
			}
			next[a] = max(next[a], n+1)
		}
		testenv.Check(t, q.Ack(t.Context(), ds...))
	}
}

// TestRestart: what could not be forwarded is forwarded by the next run, which
// starts while Redis is down. The buffer is bounded, dead letters are forwarded
// too, and batches are confirmed.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.DurableArgs...)
	path := filepath.Join(t.TempDir(), "buffer.db")
	s.Kill()
	q := open(t, s.URL(), path, 4000)
	deadLetter := queue.DeadLetter{Cause: "bad", AgentID: "agent1", EventID: "e", Events: 1, Time: time.UnixMicro(1e15).UTC(), Payload: []byte("x")}
	testenv.Check(t, q.Enqueue(t.Context(), message(1, 0), deadLetter))
	n, err := 1, error(nil)
	for ; n < 100 && err == nil; n++ {
		err = q.Enqueue(t.Context(), message(n%5, n))
	}
	if !errors.Is(err, queue.ErrFull) {
		t.Fatalf("after %d batches: error %v, want ErrFull", n, err)
	}
	testenv.Check(t, q.Close())
	q = open(t, s.URL(), path, 4000)
	s.StartAgain()
	testenv.Until(t, "the buffer is forwarded", func() bool { return q.Buffered() == 0 })
	st, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if st.Pending != int64(n-1) || st.Dead != 1 || st.Rejected != 1 {
		t.Errorf("%d batches were taken; stats %+v", n-1, st)
	}
	testenv.Check(t, q.Close()) // sends the last confirmations
	for i := range 16 {
		const unconfirmed = "4503599627370496" // 2^52, added to their scores
		if n, err := s.Client().ZCount(t.Context(), fmt.Sprintf("picket:{%d}:batches", i), unconfirmed, "+inf").Result(); err != nil || n > 0 {
			t.Errorf("shard %d: %d batches are not confirmed: %v", i, n, err)
		}
	}
}
