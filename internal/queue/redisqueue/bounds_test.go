package redisqueue_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

func TestFull(t *testing.T) {
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

// What is sent again, for its answer got lost, is there once.
func TestSentAgain(t *testing.T) {
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

// What may be sent again is known however much comes between; once it is
// settled, for a while.
func TestSentAgainLater(t *testing.T) {
	redis := redistest.Start(t)
	q := open(t, redis.URL(), redisqueue.Options{Shards: 1})
	request := func(id string) queue.EnqueueRequest { return queue.EnqueueRequest{Message: message(id, 1)} }
	for i := range 100 {
		testenv.Check(t, q.EnqueueAll(t.Context(), request(fmt.Sprint("unsure", i))))
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
		id := fmt.Sprint("unsure", i)
		testenv.Check(t, q.EnqueueAll(t.Context(), request(id)))
		q.Confirm(message(id, 1).Agent, id)
	}
	testenv.Check(t, q.Enqueue(t.Context(), message("last", 1))) // which tells what is settled
	for i := range 100 {
		testenv.Check(t, q.EnqueueAll(t.Context(), request(fmt.Sprint("unsure", i)))) // copies that were under way
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Accepted != between+101 || s.Pending != between+101 {
		t.Errorf("%d accepted, %d pending, want %d", s.Accepted, s.Pending, between+101)
	}
	known, err := redis.Client().ZCard(t.Context(), "picket:{0}:batches").Result()
	testenv.Check(t, err)
	unsure, err := redis.Client().ZCount(t.Context(), "picket:{0}:batches", "4503599627370496", "+inf").Result()
	testenv.Check(t, err)
	if known != 4096 || unsure > 1 {
		t.Errorf("%d batches are known, %d of them for ever", known, unsure)
	}
	testenv.Check(t, q.Close())
	if unsure, err = redis.Client().ZCount(t.Context(), "picket:{0}:batches", "4503599627370496", "+inf").Result(); err != nil || unsure != 0 {
		t.Errorf("%d batches are known for ever after closing, %v", unsure, err)
	}
}

// Rejected letters of a shard take their share at most; those beyond are only
// counted.
func TestRejectedShare(t *testing.T) {
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

// TestMemoryFull: a server short of memory takes nothing more, loses nothing,
// and gives back what it has.
func TestMemoryFull(t *testing.T) {
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

// TestAway: with nothing there, callers are told so, and soon.
func TestAway(t *testing.T) {
	s := redistest.Start(t)
	q := open(t, s.URL(), redisqueue.Options{})
	s.Kill()
	start := time.Now()
	_, receive := q.Receive(t.Context(), 1)
	_, stats := q.Stats(t.Context())
	_, letters := q.DeadLetters(t.Context(), 0, 1)
	_, opened := redisqueue.Open(t.Context(), s.URL(), redisqueue.Options{Logger: quiet})
	for what, err := range map[string]error{
		"enqueue": q.Enqueue(t.Context(), message("a", 1)), "receive": receive, "stats": stats, "letters": letters, "open": opened,
	} {
		if !errors.Is(err, picket.ErrUnavailable) || errors.Is(err, queue.ErrFull) {
			t.Errorf("%s: error %v, want ErrUnavailable", what, err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("told after %v", took)
	}
}

func TestShardsAreFixed(t *testing.T) {
	url := redistest.Start(t).URL()
	open(t, url, redisqueue.Options{Shards: 4})
	q := open(t, url, redisqueue.Options{})
	if s, err := q.Settings(t.Context()); err != nil || s.Shards != 4 {
		t.Errorf("%d shards, want the 4 that the queue was made with: %v", s.Shards, err)
	}
	if _, err := redisqueue.Open(t.Context(), url, redisqueue.Options{Shards: 5}); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}

// TestWarnings: settings that lose what was accepted do not go unsaid.
func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{redistest.Durable, nil},
		{nil, []string{"appendonly is off"}},
		{[]string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"}, []string{"appendfsync is \\\"everysec\\\"", "maxmemory-policy is allkeys-lru"}},
	} {
		var log bytes.Buffer
		open(t, redistest.Start(t, c.args...).URL(), redisqueue.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		said := strings.Count(log.String(), "level=WARN")
		for _, w := range c.want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%v: nothing is said of %s: %s", c.args, w, &log)
			}
		}
		if said != len(c.want) {
			t.Errorf("%v: %d warnings, want %d: %s", c.args, said, len(c.want), &log)
		}
	}
}

// TestFsync: durability that cannot be had is refused; where the server can
// be made to sync, Enqueue waits for that.
func TestFsync(t *testing.T) {
	if _, err := redisqueue.Open(t.Context(), redistest.Start(t).URL(), redisqueue.Options{Fsync: true, Logger: quiet}); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("without appendonly: error %v, want ErrInvalid", err)
	}
	testenv.Check(t, open(t, redistest.Start(t, redistest.Durable...).URL(), redisqueue.Options{Fsync: true}).Enqueue(t.Context(), message("a", 1)))

	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	settings, err := open(t, s.URL(), redisqueue.Options{}).Settings(t.Context())
	testenv.Check(t, err)
	if !settings.WaitAOF {
		if _, err := redisqueue.Open(t.Context(), s.URL(), redisqueue.Options{Fsync: true, Logger: quiet}); !errors.Is(err, picket.ErrInvalid) {
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
