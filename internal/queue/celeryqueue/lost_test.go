package celeryqueue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/queuetest"
	"github.com/picket-edr/picket/internal/redistest"
)

func TestKill(t *testing.T) {
	const name = "PICKET_TEST_CELERYQUEUE_REDIS"
	url := os.Getenv(name)
	if url == "" {
		url = redistest.Start(t, redistest.Durable...).URL()
		t.Setenv(name, url) // for the children
	}
	queuetest.Kill(t, func(string) (queuetest.Queue, error) {
		return celeryqueue.Open(t.Context(), "celery+"+url+"?lease=1s", celeryqueue.Options{Event: event, Group: 1, Logger: quiet})
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
	queuetest.Poison(t, func(string) (queuetest.Queue, error) {
		return celeryqueue.Open(t.Context(), "celery+"+url+"?lease=1s", celeryqueue.Options{Event: event, Group: 10, Logger: quiet})
	})
}

// What a Python worker held when it died is put back when it is overdue, to
// the list that it came from, marked.
func TestPythonWorkerDied(t *testing.T) {
	r := newRig(t)
	for i, age := range []time.Duration{30 * time.Minute, 2 * time.Hour} {
		c := call(fmt.Sprint(i))
		c.Priority = 6
		exchange, routing := "", "celery"
		if i == 1 {
			exchange, routing = "named", "key"
			check(t, r.c.SAdd(t.Context(), r.keys.BindingKey("named"), r.keys.BindingMember("other", "", "wrong"), r.keys.BindingMember("key", "", "celery")).Err())
		}
		entry := fmt.Sprintf(`[%s, %q, %q]`, c.Append(nil), exchange, routing)
		check(t, r.c.HSet(t.Context(), "unacked", c.ID, entry).Err())
		check(t, r.c.ZAdd(t.Context(), "unacked_index", redis.Z{Score: float64(time.Now().Add(-age).Unix()), Member: c.ID}).Err())
	}
	q := open(t, r.URL(), celeryqueue.Options{})
	ds := receive(t, q, 1)
	if got := events(t, ds); len(got) != 1 || got[0] != "event of 1" || ds[0].Attempt != 2 {
		t.Errorf("got %v, attempt %d", got, ds[0].Attempt)
	}
	check(t, q.Ack(t.Context(), ds...))
	if n := r.c.HLen(t.Context(), "unacked").Val(); n != 1 {
		t.Errorf("%d are held", n)
	}
}

// What takes longer than any lease stays with who has it.
func TestRenewed(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL()+"?lease=1s&visibility=1s", celeryqueue.Options{})
	r.send(call("a"))
	d := receive(t, q, 1)[0]
	tag := r.c.HKeys(t.Context(), "unacked").Val()[0]
	first := r.c.ZScore(t.Context(), "unacked_index", tag).Val()
	until(t, "its visibility to be renewed twice over", func() bool {
		return r.c.ZScore(t.Context(), "unacked_index", tag).Val() > first+2
	})
	check(t, q.Ack(t.Context(), d))
	r.wantQuiet()
}

// A task that kills who takes it comes alone after some times, and then no
// more.
func TestPoison(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	r.send(call("good"), call("poison"))
	check(t, r.c.HSet(t.Context(), "picket:celery:tries", "poison", 3).Err())
	check(t, r.c.HSet(t.Context(), "picket:celery:lost", "poison", 3).Err())
	for _, want := range []string{"good", "poison"} { // the one is done before the other is delivered
		ds := receive(t, q, 1)
		if diff := cmp.Diff([]string{"event of " + want}, events(t, ds)); diff != "" {
			t.Errorf("received (-want +got):\n%s", diff)
		}
		check(t, q.Ack(t.Context(), ds...))
	}
	r.wantQuiet()
	r.send(call("worse"))
	check(t, r.c.HSet(t.Context(), "picket:celery:tries", "worse", 4).Err())
	check(t, r.c.HSet(t.Context(), "picket:celery:lost", "worse", 4).Err())
	drain(t, q)
	r.wantFailure("worse", "WorkerLostError", "its worker was lost 4 times")
	s, err := q.Stats(t.Context())
	check(t, err)
	if s.Dead != 1 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	r.wantQuiet()
}

// Closing gives back what is held, in its order.
func TestClosingGivesBack(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	r.send(call("a"), call("b"))
	receive(t, q, 2)
	check(t, q.Close())
	if n := r.c.LLen(t.Context(), "celery").Val(); n != 2 {
		t.Errorf("%d wait", n)
	}
	raw := r.c.LIndex(t.Context(), "celery", -1).Val()
	if task, err := new(celery.Decoder).Decode([]byte(raw)); err != nil || task.ID != "a" {
		t.Errorf("%s: %v", raw, err)
	}
}

// What was taken when the answer was lost is given again, long before its
// lease ends.
func TestAnswerLost(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL()+"?lease=1h", celeryqueue.Options{})
	r.send(call("first")) // the server knows the script from then on
	check(t, q.Ack(t.Context(), receive(t, q, 1)...))
	r.send(call("a"), call("b"))
	r.Pause()
	if ds, err := q.Receive(t.Context(), 10); !errors.Is(err, picket.ErrUnavailable) {
		t.Errorf("received %d deliveries: %v", len(ds), err)
	}
	r.Resume()
	until(t, "the server to carry out what it was told", func() bool { return r.c.HLen(t.Context(), "unacked").Val() == 2 })
	ds := receive(t, q, 2)
	if diff := cmp.Diff([]string{"event of a", "event of b"}, events(t, ds)); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
	check(t, q.Ack(t.Context(), ds...))
	r.wantQuiet()
}

// Sent again because the answer was lost, a batch is published once.
func TestPublishedTwice(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	b := picket.Batch{ID: "b", Events: []picket.Event{{ID: "e", AgentID: "a", Raw: []byte(`{}`)}}}
	for range 2 {
		check(t, q.Enqueue(t.Context(), queue.Message{ID: "b", Events: 1, Payload: b.Encode(nil)}))
	}
	if n := r.c.LLen(t.Context(), "celery").Val(); n != 1 {
		t.Errorf("%d tasks", n)
	}
	if s, err := q.Stats(t.Context()); err != nil || s.Accepted != 1 {
		t.Errorf("%+v: %v", s, err)
	}
}

// A broker that goes and comes back finds worker and node as they were: the
// commonest complaint about Celery is a worker that then does nothing.
func TestBrokerRestarts(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	r.attend(q, celeryqueue.WorkerInfo{Pool: &crew{1}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // as a worker does, who tries again
		defer close(done)
		for ctx.Err() == nil {
			if ds, err := q.Receive(ctx, 10); err == nil {
				for q.Ack(context.WithoutCancel(ctx), ds...) != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		}
	}()
	defer func() { cancel(); <-done }()
	for i := range 3 {
		r.Kill()
		r.Start()
		id := fmt.Sprint(i)
		r.send(call(id))
		if got := r.result(id); got.Status != celery.Success {
			t.Errorf("%s is %s", id, got.Status)
		}
		until(t, "the node to hear again", func() bool { return len(r.ask("ping", "{}")) == 1 })
	}
}
