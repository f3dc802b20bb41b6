package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/diskbuffer"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

var discard = slog.New(slog.DiscardHandler)

// newQueues returns functions that open a queue of each kind. Each call opens the same
// queue again.
func newQueues(t *testing.T) map[string]func() queue.Movable {
	redis, celery := redistest.Start(t), redistest.Start(t)
	path := filepath.Join(t.TempDir(), "queue.db")
	opened := func(q queue.Movable, err error) queue.Movable {
		t.Helper()
		testenv.Check(t, err)
		t.Cleanup(func() { q.Close() })
		return q
	}
	return map[string]func() queue.Movable{
		"sqlite": func() queue.Movable {
			return opened(sqlitequeue.Open(path, sqlitequeue.Options{MinFreeDisk: -1, Logger: discard}))
		},
		"redis": func() queue.Movable {
			return opened(redisqueue.Open(t.Context(), redis.URL(), redisqueue.Options{Logger: discard}))
		},
		"celery": func() queue.Movable {
			return opened(celeryqueue.Open(t.Context(), "celery+"+celery.URL()+"?ignore_result=true", celeryqueue.Options{Logger: discard}))
		},
	}
}

func batchOf(id, agent string, events int) queue.Message {
	b := picket.Batch{ID: id, Received: time.Unix(1_700_000_000, 0).UTC()}
	for i := range events {
		e := picket.Event{ID: fmt.Sprintf("%s-%d", id, i), AgentID: agent, Host: agent, Type: "process", OS: "linux", Time: b.Received}
		e.Raw = fmt.Appendf(nil, `{"event_id":%q}`, e.ID)
		b.Events = append(b.Events, e)
	}
	return queue.Message{ID: id, Events: events, Payload: b.Encode(nil), Agent: agent}
}

func deadLetter(event string, reason queue.DeadReason) queue.DeadLetter {
	m := batchOf("of-"+event, "agent", 1)
	return queue.DeadLetter{Reason: reason, Cause: "cause of " + event, AgentID: "agent", EventID: event, Events: 1,
		Time: time.UnixMicro(1_700_000_000_123_456).UTC(), Payload: m.Payload}
}

// newFilledQueue returns a queue with waiting, delayed and processed messages, and dead
// dead letters of both kinds, of which one is larger than lists show.
func newFilledQueue(t *testing.T, open func() queue.Movable) queue.Movable {
	t.Helper()
	ctx, q := t.Context(), open()
	large := deadLetter("large", queue.Rejected)
	large.Cause += string(make([]byte, 100))
	large.Payload = make([]byte, queue.MaxListedPayloadBytes+1)
	testenv.Check(t, q.Enqueue(ctx, batchOf("done", "agent-0", 2), deadLetter("bad", queue.Rejected), deadLetter("bad", queue.Rejected), large))
	ds, err := q.Receive(ctx, 100)
	testenv.Check(t, err)
	testenv.Check(t, q.Ack(ctx, ds...))
	testenv.Check(t, q.Enqueue(ctx, batchOf("failed", "agent-0", 1)))
	ds, err = q.Receive(ctx, 100)
	testenv.Check(t, err)
	testenv.Check(t, q.Bury(ctx, ds[0], deadLetter("failed-0", queue.Failed)))
	for n := range 15 {
		testenv.Check(t, q.Enqueue(ctx, batchOf(fmt.Sprint("b", n), fmt.Sprint("agent-", n%3), 2)))
	}
	ds, err = q.Receive(ctx, 1)
	testenv.Check(t, err)
	testenv.Check(t, q.Retry(ctx, 300*time.Millisecond, queue.Retry{Delivery: ds[0], Cause: errors.New("later")}))
	testenv.Check(t, q.Close()) // which returns what it has leased in advance
	return open()
}

// filledEvents are the events that wait in a queue of newFilledQueue.
func filledEvents() map[string]int {
	events := make(map[string]int)
	for n := range 15 {
		events[fmt.Sprintf("b%d-0", n)], events[fmt.Sprintf("b%d-1", n)] = 1, 1
	}
	return events
}

// contents returns the events that wait in a queue, how often each, its dead letters from
// the oldest, and its counters.
func contents(t *testing.T, q queue.Movable) (events map[string]int, deadLetters []string, counters queue.Counters) {
	t.Helper()
	events = make(map[string]int)
	waiting, err := q.Peek(t.Context(), 1000)
	testenv.Check(t, err)
	for _, d := range waiting {
		b, err := picket.DecodeBatch(d.Payload)
		testenv.Check(t, err)
		for _, e := range b.Events {
			events[e.ID]++
		}
	}
	ls, err := q.OldestDeadLetters(t.Context(), 1000)
	testenv.Check(t, err)
	for i := range ls {
		deadLetters = append(deadLetters, fmt.Sprint(ls[i].EventID, " ", ls[i].Reason, " ", ls[i].ContentHash()))
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if int64(len(deadLetters)) != s.Dead {
		// Of a sharded queue only the dead letters of one shard are returned; all here are of one agent.
		t.Errorf("%d dead letters of %d are read", len(deadLetters), s.Dead)
	}
	return events, deadLetters, s.Counters()
}

// Everything is moved, in every direction, once, and counted as before.
func TestMoveQueue(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"sqlite", "redis"}, {"redis", "sqlite"}, {"sqlite", "celery"}, {"celery", "redis"}, {"redis", "celery"}, {"celery", "sqlite"}} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			t.Parallel()
			queues := newQueues(t)
			from, to := newFilledQueue(t, queues[pair[0]]), queues[pair[1]]()
			wantEvents, wantDead, wantCounters := contents(t, from)
			if diff := cmp.Diff(filledEvents(), wantEvents); diff != "" || len(wantDead) != 4 {
				t.Fatalf("%d dead letters to move, events: %s", len(wantDead), diff)
			}
			got, err := (&QueueMover{From: from, To: to, Log: discard}).Run(t.Context())
			testenv.Check(t, err)
			if got.Events != 30 || got.DeadLetters != 4 || got.Left != 0 {
				t.Errorf("moved %+v", got)
			}
			events, deadLetters, counters := contents(t, to)
			if diff := cmp.Diff(wantEvents, events); diff != "" {
				t.Errorf("events: %s", diff)
			}
			if diff := cmp.Diff(wantDead, deadLetters); diff != "" {
				t.Errorf("dead letters: %s", diff)
			}
			if diff := cmp.Diff(wantCounters, counters); diff != "" {
				t.Errorf("counters: %s", diff)
			}
			s, err := from.Stats(t.Context())
			testenv.Check(t, err)
			if s.Pending+s.Leased+s.Dead != 0 || s.Counters() != (queue.Counters{}) {
				t.Errorf("left behind: %+v", s)
			}
			// And back: nothing is taken for what was there before.
			testenv.Check(t, from.Close())
			from = queues[pair[0]]()
			_, err = (&QueueMover{From: to, To: from, Log: discard}).Run(t.Context())
			testenv.Check(t, err)
			events, deadLetters, counters = contents(t, from)
			if diff := cmp.Diff(wantEvents, events); diff != "" {
				t.Errorf("events after the way back: %s", diff)
			}
			if diff := cmp.Diff(wantDead, deadLetters); diff != "" {
				t.Errorf("dead letters after the way back: %s", diff)
			}
			if diff := cmp.Diff(wantCounters, counters); diff != "" {
				t.Errorf("counters after the way back: %s", diff)
			}
		})
	}
}

// A dyingQueue does not remove what was moved, as if the process died just before.
type dyingQueue struct {
	queue.Movable
	deadLetters bool // dies at dead letters only
}

var errDied = errors.New("died")

func (q dyingQueue) RemoveMoved(ctx context.Context, ds ...queue.Delivery) error {
	if q.deadLetters {
		return q.Movable.RemoveMoved(ctx, ds...)
	}
	return errDied
}

func (q dyingQueue) RemoveMovedDeadLetters(context.Context, ...queue.DeadLetter) error {
	return errDied
}

// A move that died after the other queue had the messages, or the dead letters, adds
// none of them again.
func TestMoveInterrupted(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"sqlite", "redis"}, {"redis", "sqlite"}, {"sqlite", "celery"}} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			t.Parallel()
			queues := newQueues(t)
			from := newFilledQueue(t, queues[pair[0]])
			wantEvents, wantDead, wantCounters := contents(t, from)
			for _, deadLetters := range []bool{false, true} {
				to := queues[pair[1]]()
				_, err := (&QueueMover{From: dyingQueue{from, deadLetters}, To: to, Log: discard}).Run(t.Context())
				if !errors.Is(err, errDied) {
					t.Fatalf("move: %v", err)
				}
				testenv.Check(t, errors.Join(to.Close(), from.Close()))
				from = queues[pair[0]]()
			}
			to := queues[pair[1]]()
			_, err := (&QueueMover{From: from, To: to, Log: discard}).Run(t.Context())
			testenv.Check(t, err)
			events, deadLetters, counters := contents(t, to)
			if diff := cmp.Diff(wantEvents, events); diff != "" {
				t.Errorf("events: %s", diff)
			}
			if diff := cmp.Diff(wantDead, deadLetters); diff != "" {
				t.Errorf("dead letters: %s", diff)
			}
			if diff := cmp.Diff(wantCounters, counters); diff != "" {
				t.Errorf("counters: %s", diff)
			}
		})
	}
}

// What a disk buffer holds goes into a local queue, with the rejected events.
func TestMoveDiskBuffer(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	path := filepath.Join(t.TempDir(), "spill.db")
	open := func() *sqlitequeue.Queue {
		q, err := sqlitequeue.Open(path, sqlitequeue.Options{MinFreeDisk: -1, IgnoreLost: true, Logger: discard})
		testenv.Check(t, err)
		t.Cleanup(func() { q.Close() })
		return q
	}
	remote, err := redisqueue.Open(t.Context(), redis.URL(), redisqueue.Options{Logger: discard})
	testenv.Check(t, err)
	buffered, err := diskbuffer.New(remote, open(), diskbuffer.Options{Deduplicator: remote, Logger: discard})
	testenv.Check(t, err)
	redis.Kill()
	for n := range 5 {
		testenv.Check(t, buffered.Enqueue(t.Context(), batchOf(fmt.Sprint("b", n), "agent", 2), deadLetter(fmt.Sprint("bad", n), queue.Rejected)))
	}
	buffered.Close()
	to := newQueues(t)["sqlite"]()
	got, err := (&QueueMover{From: open(), To: to, Buffer: true, Log: discard, Progress: io.Discard}).Run(t.Context())
	testenv.Check(t, err)
	events, deadLetters, counters := contents(t, to)
	if got.Batches != 5 || len(events) != 10 || len(deadLetters) != 5 || counters != (queue.Counters{Accepted: 10, Rejected: 5}) {
		t.Errorf("moved %+v: %d events, %d dead letters, %+v", got, len(events), len(deadLetters), counters)
	}
}

// A patient move waits for the other queue.
func TestMoveWaits(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, redistest.DurableArgs...)
	queues := newQueues(t)
	from := newFilledQueue(t, queues["sqlite"])
	to, err := redisqueue.Open(t.Context(), redis.URL(), redisqueue.Options{Lazy: true, Logger: discard})
	testenv.Check(t, err)
	t.Cleanup(func() { to.Close() })
	redis.Kill()
	if _, err := (&QueueMover{From: from, To: to, Log: discard}).Run(t.Context()); !errors.Is(err, picket.ErrUnavailable) {
		t.Errorf("move to a queue that is away: %v", err)
	}
	testenv.Check(t, from.Close())
	from = queues["sqlite"]()
	var log testenv.Buffer
	done := make(chan error, 1)
	go func() {
		_, err := (&QueueMover{From: from, To: to, Patient: true, Log: slog.New(slog.NewTextHandler(&log, nil))}).Run(t.Context())
		done <- err
	}()
	testenv.Until(t, "a line in the log", func() bool { return log.String() != "" })
	redis.StartAgain()
	testenv.Check(t, <-done)
	if events, deadLetters, _ := contents(t, to); len(events) != 30 || len(deadLetters) != 4 {
		t.Errorf("moved %d events, %d dead letters", len(events), len(deadLetters))
	}
}
