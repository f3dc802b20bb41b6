package celeryqueue_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue/celerytest"
	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

func TestKill(t *testing.T) {
	const name = "PICKET_TEST_CELERYQUEUE_REDIS"
	url := os.Getenv(name)
	if url == "" {
		url = redistest.Start(t, redistest.DurableArgs...).URL()
		t.Setenv(name, url) // for the children
	}
	queuetest.RunKillTest(t, func(string) (queuetest.Queue, error) {
		return celeryqueue.Open(t.Context(), "celery+"+url+"?lease=1s", celeryqueue.Options{Event: celerytest.ReadEvent, Group: 1, Logger: slog.New(slog.DiscardHandler)})
	})
}

// TestPoisonKills: a task that kills picket's workers.
func TestPoisonKills(t *testing.T) {
	const name = "PICKET_TEST_CELERYQUEUE_REDIS"
	url := os.Getenv(name)
	if url == "" {
		url = redistest.Start(t).URL()
		t.Setenv(name, url) // for the children
	}
	queuetest.RunPoisonTest(t, func(string) (queuetest.Queue, error) {
		return celeryqueue.Open(t.Context(), "celery+"+url+"?lease=1s", celeryqueue.Options{Event: celerytest.ReadEvent, Group: 10, Logger: slog.New(slog.DiscardHandler)})
	})
}

// What a Python worker held when it died is put back when it is overdue, to
// the list that it came from. What was sent to a named exchange stays, for another
// Python worker.
func TestPythonWorkerDied(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	for i, age := range []time.Duration{30 * time.Minute, 2 * time.Hour, 3 * time.Hour} {
		c := celerytest.NewEventTask(fmt.Sprint(i))
		c.Priority = 6
		exchange, routing := "", "celery"
		if i == 2 {
			exchange, routing = "named", "key"
		}
		entry := fmt.Sprintf(`[%s, %q, %q]`, c.Append(nil), exchange, routing)
		testenv.Check(t, r.Client.HSet(t.Context(), "unacked", c.ID, entry).Err())
		testenv.Check(t, r.Client.ZAdd(t.Context(), "unacked_index", redis.Z{Score: float64(time.Now().Add(-age).Unix()), Member: c.ID}).Err())
	}
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	ds := celerytest.ReceiveTasks(t, q, 1)
	if got := celerytest.EventIDs(t, ds); len(got) != 1 || got[0] != "event of 1" || ds[0].Attempt != 2 {
		t.Errorf("got %v, attempt %d", got, ds[0].Attempt)
	}
	testenv.Check(t, q.Ack(t.Context(), ds...))
	if n := r.Client.HLen(t.Context(), "unacked").Val(); n != 2 {
		t.Errorf("%d are held", n)
	}
}

// What takes longer than any lease stays with who has it.
func TestRenewed(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL()+"?lease=4s&visibility=4s", celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("a"))
	d := celerytest.ReceiveTasks(t, q, 1)[0]
	tag := r.Client.HKeys(t.Context(), "unacked").Val()[0]
	first := r.Client.ZScore(t.Context(), "unacked_index", tag).Val()
	testenv.Until(t, "its visibility to be renewed twice over", func() bool {
		return r.Client.ZScore(t.Context(), "unacked_index", tag).Val() > first+8
	})
	testenv.Check(t, q.Ack(t.Context(), d))
	r.WantEmpty()
}

// A task that was lost too often is delivered alone, and fails with Celery's
// error if it is buried for that.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("good"), celerytest.NewEventTask("poison"))
	testenv.Check(t, r.Client.HSet(t.Context(), "picket:celery:tries", "poison", 3).Err())
	testenv.Check(t, r.Client.HSet(t.Context(), "picket:celery:lost", "poison", 3).Err())
	for _, want := range []string{"good", "poison"} { // the one is done before the other is delivered
		ds := celerytest.ReceiveTasks(t, q, 1)
		if diff := cmp.Diff([]string{"event of " + want}, celerytest.EventIDs(t, ds)); diff != "" {
			t.Errorf("received (-want +got):\n%s", diff)
		}
		testenv.Check(t, q.Ack(t.Context(), ds...))
	}
	r.WantEmpty()
	r.Publish(celerytest.NewEventTask("worse"))
	testenv.Check(t, r.Client.HSet(t.Context(), "picket:celery:tries", "worse", 4).Err())
	testenv.Check(t, r.Client.HSet(t.Context(), "picket:celery:lost", "worse", 4).Err())
	d := celerytest.ReceiveTasks(t, q, 1)[0]
	if d.Lost != queue.MaxLost {
		t.Errorf("lost %d times", d.Lost)
	}
	testenv.Check(t, q.Bury(t.Context(), d, queue.LostDeadLetter(d)))
	r.WantFailure("worse", "WorkerLostError", "its worker was lost 4 times")
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Dead != 1 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	r.WantEmpty()
}

// Closing gives back what is held, in its order.
func TestClosingGivesBack(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("a"), celerytest.NewEventTask("b"))
	celerytest.ReceiveTasks(t, q, 2)
	testenv.Check(t, q.Close())
	if n := r.Client.LLen(t.Context(), "celery").Val(); n != 2 {
		t.Errorf("%d wait", n)
	}
	raw := r.Client.LIndex(t.Context(), "celery", -1).Val()
	if task, err := new(celery.Decoder).Decode([]byte(raw)); err != nil || task.ID != "a" {
		t.Errorf("%s: %v", raw, err)
	}
}

// What was taken when the answer was lost is given again, long before its
// lease ends.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL()+"?lease=1h", celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("first")) // the server knows the script from then on
	testenv.Check(t, q.Ack(t.Context(), celerytest.ReceiveTasks(t, q, 1)...))
	r.Publish(celerytest.NewEventTask("a"), celerytest.NewEventTask("b"))
	r.Pause()
	if ds, err := q.Receive(t.Context(), 10); !errors.Is(err, picket.ErrUnavailable) {
		t.Errorf("received %d deliveries: %v", len(ds), err)
	}
	r.Resume()
	testenv.Until(t, "the server to carry out what it was told", func() bool { return r.Client.HLen(t.Context(), "unacked").Val() == 2 })
	ds := celerytest.ReceiveTasks(t, q, 2)
	if diff := cmp.Diff([]string{"event of a", "event of b"}, celerytest.EventIDs(t, ds)); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
	testenv.Check(t, q.Ack(t.Context(), ds...))
	r.WantEmpty()
}

// Sent again because the answer was lost, a batch is published once.
func TestPublishedTwice(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	b := picket.Batch{ID: "b", Events: []picket.Event{{ID: "e", AgentID: "a", Raw: []byte(`{}`)}}}
	for range 2 {
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: "b", Events: 1, Payload: b.Encode(nil)}))
	}
	if n := r.Client.LLen(t.Context(), "celery").Val(); n != 1 {
		t.Errorf("%d tasks", n)
	}
	if s, err := q.Stats(t.Context()); err != nil || s.Accepted != 1 {
		t.Errorf("%+v: %v", s, err)
	}
}
