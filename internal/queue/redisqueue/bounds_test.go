package redisqueue_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

func TestFull(t *testing.T) {
	t.Parallel()
	q := open(t, redistest.Start(t).URL(), redisqueue.Options{MaxBytes: 10_000})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 6000)))
	err := q.Enqueue(t.Context(), message("b", 4001))
	if !errors.Is(err, queue.ErrFull) || !errors.Is(err, picket.ErrUnavailable) {
		t.Errorf("error %v, want ErrFull", err)
	}
	if err := q.Enqueue(t.Context(), message("c", 10_001)); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("error %v for what will never fit, want ErrInvalid", err)
	}
	testenv.Check(t, q.Enqueue(t.Context(), message("d", 4000)))
	for range 2 {
		ds, err := q.Receive(t.Context(), 1)
		testenv.Check(t, err)
		testenv.Check(t, q.Ack(t.Context(), ds...))
	}
	testenv.Check(t, q.Enqueue(t.Context(), message("e", 6000)))
}

// A message that is sent again, because the reply was lost, is enqueued once.
func TestDuplicate(t *testing.T) {
	t.Parallel()
	q := open(t, redistest.Start(t).URL(), redisqueue.Options{Shards: 1})
	for range 2 {
		for i := range 900 {
			testenv.Check(t, q.Enqueue(t.Context(), message(fmt.Sprint(i), 1), queue.DeadLetter{Events: 1}))
		}
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Accepted != 900 || s.Pending != 900 || s.Rejected != 900 {
		t.Errorf("stats %+v", s)
	}
}

// Unconfirmed messages are recognized as duplicates however many others come in
// between, and confirmed ones for a while.
func TestDuplicateLater(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	q := open(t, redis.URL(), redisqueue.Options{Shards: 1})
	request := func(id string) queue.EnqueueRequest { return queue.EnqueueRequest{Message: message(id, 1)} }
	for i := range 100 {
		testenv.Check(t, q.EnqueueAll(t.Context(), request(fmt.Sprint("first", i))))
	}
	const between = 5000
	var work sync.WaitGroup
	for w := range 10 {
		work.Go(func() {
			for i := range between / 10 {
				if err := q.Enqueue(t.Context(), message(fmt.Sprint(w, "-", i), 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	for i := range 100 {
		id := fmt.Sprint("first", i)
		testenv.Check(t, q.EnqueueAll(t.Context(), request(id)))
		q.ConfirmNoResend(message(id, 1).Agent, id)
	}
	testenv.Check(t, q.Enqueue(t.Context(), message("last", 1))) // which sends the confirmations
	for i := range 100 {
		testenv.Check(t, q.EnqueueAll(t.Context(), request(fmt.Sprint("first", i)))) // copies that were still in transit
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Accepted != between+101 || s.Pending != between+101 {
		t.Errorf("%d accepted, %d pending, want %d", s.Accepted, s.Pending, between+101)
	}
	known, err := redis.Client().ZCard(t.Context(), "picket:{0}:batches").Result()
	testenv.Check(t, err)
	unconfirmed, err := redis.Client().ZCount(t.Context(), "picket:{0}:batches", "4503599627370496", "+inf").Result()
	testenv.Check(t, err)
	if known != 4096 || unconfirmed > 1 {
		t.Errorf("%d batches are known, %d of them unconfirmed", known, unconfirmed)
	}
	testenv.Check(t, q.Close())
	if unconfirmed, err = redis.Client().ZCount(t.Context(), "picket:{0}:batches", "4503599627370496", "+inf").Result(); err != nil || unconfirmed != 0 {
		t.Errorf("%d batches are unconfirmed after closing: %v", unconfirmed, err)
	}
}

// Dead letters of rejected events take their share of a shard at most; more are
// only counted.
func TestRejectedShare(t *testing.T) {
	t.Parallel()
	q := open(t, redistest.Start(t).URL(), redisqueue.Options{MaxBytes: 10_000, Shards: 1})
	for range 5 {
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{}, queue.DeadLetter{Events: 1, Cause: "bad", Payload: make([]byte, 397)}))
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Rejected != 5 || s.Dropped != 3 || s.Dead != 2 || s.Bytes != 800 {
		t.Errorf("stats %+v", s)
	}
}

// TestMemoryFull: when the server is short of memory, Enqueue returns ErrFull, and
// everything that was accepted is delivered.
func TestMemoryFull(t *testing.T) {
	t.Parallel()
	q := open(t, redistest.Start(t, "--maxmemory", "32mb").URL(), redisqueue.Options{})
	n, failed := 0, error(nil)
	for ; n < 10_000 && failed == nil; n++ {
		failed = q.Enqueue(t.Context(), message(fmt.Sprint(n), 100<<10))
	}
	if !errors.Is(failed, queue.ErrFull) {
		t.Fatalf("after %d messages: error %v, want ErrFull", n, failed)
	}
	for got := 0; got < n-1; {
		ds, err := q.Receive(t.Context(), 100)
		testenv.Check(t, err)
		got += len(ds)
		testenv.Check(t, q.Ack(t.Context(), ds...))
	}
	testenv.Check(t, q.Enqueue(t.Context(), message("more", 100<<10)))
}

// TestUnreachable: without a server, all calls return ErrUnavailable.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	q := open(t, s.URL(), redisqueue.Options{})
	s.Kill()
	_, receive := q.Receive(t.Context(), 1)
	_, stats := q.Stats(t.Context())
	_, deadLetters := q.DeadLetters(t.Context(), 0, 1)
	_, opened := redisqueue.Open(t.Context(), s.URL(), redisqueue.Options{Logger: discardLog})
	for what, err := range map[string]error{
		"enqueue": q.Enqueue(t.Context(), message("a", 1)), "receive": receive, "stats": stats, "letters": deadLetters, "open": opened,
	} {
		if !errors.Is(err, picket.ErrUnavailable) || errors.Is(err, queue.ErrFull) {
			t.Errorf("%s: error %v, want ErrUnavailable", what, err)
		}
	}
}

func TestShardsAreFixed(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	open(t, url, redisqueue.Options{Shards: 4})
	q := open(t, url, redisqueue.Options{})
	if s, err := q.ServerSettings(t.Context()); err != nil || s.Shards != 4 {
		t.Errorf("%d shards, want 4, as when the queue was created: %v", s.Shards, err)
	}
	if _, err := redisqueue.Open(t.Context(), url, redisqueue.Options{Shards: 5}); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}

// TestWarnings: settings that can lose accepted messages are logged.
func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want []string
	}{
		{redistest.DurableArgs, nil},
		{nil, []string{"appendonly is off"}},
		{[]string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"}, []string{"appendfsync is \\\"everysec\\\"", "maxmemory-policy is allkeys-lru"}},
	} {
		var log bytes.Buffer
		open(t, redistest.Start(t, c.args...).URL(), redisqueue.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		warnings := strings.Count(log.String(), "level=WARN")
		for _, w := range c.want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%v: no warning about %s: %s", c.args, w, &log)
			}
		}
		if warnings != len(c.want) {
			t.Errorf("%v: %d warnings, want %d: %s", c.args, warnings, len(c.want), &log)
		}
	}
}

// TestFsync: Open fails if the server cannot wait for fsync. If it can, Enqueue
// waits.
func TestFsync(t *testing.T) {
	t.Parallel()
	if _, err := redisqueue.Open(t.Context(), redistest.Start(t).URL(), redisqueue.Options{Fsync: true, Logger: discardLog}); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("without appendonly: error %v, want ErrInvalid", err)
	}
	testenv.Check(t, open(t, redistest.Start(t, redistest.DurableArgs...).URL(), redisqueue.Options{Fsync: true}).Enqueue(t.Context(), message("a", 1)))

	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	settings, err := open(t, s.URL(), redisqueue.Options{}).ServerSettings(t.Context())
	testenv.Check(t, err)
	if !settings.WaitAOF {
		if _, err := redisqueue.Open(t.Context(), s.URL(), redisqueue.Options{Fsync: true, Logger: discardLog}); !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("without WAITAOF: error %v, want ErrInvalid", err)
		}
		t.Logf("%s has no WAITAOF", settings.Version)
		return
	}
	q := open(t, s.URL(), redisqueue.Options{Fsync: true})
	testenv.Check(t, q.Enqueue(t.Context(), message("b", 1)))
	stats := s.Client().Info(t.Context(), "commandstats").Val()
	if !strings.Contains(stats, "cmdstat_waitaof:calls=") {
		t.Error("WAITAOF was not called")
	}
	c := redistest.StartCluster(t, 3, "--appendonly", "yes")
	q = open(t, c.URL(), redisqueue.Options{Fsync: true})
	for i := range 50 {
		testenv.Check(t, q.Enqueue(t.Context(), message(fmt.Sprint(i), 1)))
	}
}
