package celeryqueue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/redistest"
)

// known is the task that queues know by default.
const known = "ingestion.tasks.telemetry_ingest"

// patience bounds what must happen in the end.
const patience = 60 * time.Second

// A rig is a broker, looked at as Python programs do.
type rig struct {
	*redistest.Server
	t    *testing.T
	c    *redis.Client
	keys celery.Keys
}

func newRig(t *testing.T) *rig {
	s := redistest.Start(t)
	return &rig{Server: s, t: t, c: s.Client()}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call is a task that calls telemetry_ingest with an event.
func call(id string) celery.Task {
	return celery.Task{ID: id, Name: known, GroupIndex: -1, RoutingKey: "celery",
		Args: fmt.Appendf(nil, `[{"event_id":"event of %s","agent_id":"PC1","event_type":"process","timestamp":1700000000}]`, id)}
}

// send publishes a task as a Python producer does.
func (r *rig) send(ts ...celery.Task) {
	r.t.Helper()
	for i := range ts {
		check(r.t, r.c.LPush(r.t.Context(), r.keys.List(ts[i].RoutingKey, ts[i].Priority), ts[i].Append(nil)).Err())
	}
}

// receive takes deliveries until they hold n tasks.
func receive(t *testing.T, q *celeryqueue.Queue, n int) []queue.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []queue.Delivery
	for got := 0; got < n; {
		ds, err := q.Receive(ctx, 10)
		check(t, err)
		for _, d := range ds {
			got += d.Events
		}
		all = append(all, ds...)
	}
	return all
}

// events are the ids of the events of deliveries.
func events(t *testing.T, ds []queue.Delivery) []string {
	t.Helper()
	var ids []string
	for _, d := range ds {
		b, err := picket.DecodeBatch(d.Payload)
		check(t, err)
		for _, e := range b.Events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// result waits for a task's result.
func (r *rig) result(id string) *celery.Result {
	r.t.Helper()
	var result *celery.Result
	until(r.t, "a result of "+id, func() bool {
		raw, err := r.c.Get(r.t.Context(), r.keys.Result(id)).Bytes()
		if err != nil {
			return false
		}
		result, err = celery.DecodeResult(raw)
		check(r.t, err)
		return result.Status.Ready()
	})
	return result
}

func (r *rig) wantFailure(id, class, text string) {
	r.t.Helper()
	got := r.result(id)
	if got.Exception == nil || got.Exception.Type != class || string(got.Exception.Args[0]) != fmt.Sprintf("%q", text) {
		r.t.Errorf("%s is %s %s, want %s(%q)", id, got.Status, got.Exception, class, text)
	}
}

// wantQuiet checks that nothing is left of what was done.
func (r *rig) wantQuiet() {
	r.t.Helper()
	for _, key := range []string{"unacked", "unacked_index", "picket:celery:leases", "picket:celery:parked", "picket:celery:tries", "picket:celery:lost", "celery", "picket"} {
		if n := r.c.Exists(r.t.Context(), key).Val(); n != 0 {
			r.t.Errorf("%s is left", key)
		}
	}
}

// drain receives and acks in the background.
func drain(t *testing.T, q *celeryqueue.Queue) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			ds, err := q.Receive(ctx, 10)
			if err == nil {
				err = q.Ack(context.WithoutCancel(ctx), ds...)
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A crew is who would work.
type crew struct{ n int }

func (c *crew) Concurrency() int { return c.n }
func (c *crew) Resize(n int)     { c.n = n }

// ask sends a command, and returns what the nodes answer.
func (r *rig) ask(method, arguments string) map[string]json.RawMessage {
	r.t.Helper()
	c := celery.Control{Method: method, Arguments: json.RawMessage(arguments), Ticket: celery.NewID(),
		ReplyTo: celery.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: celery.NewID()}}
	n, err := r.c.Publish(r.t.Context(), r.keys.ControlChannel(), c.Append(nil)).Result()
	check(r.t, err)
	all := make(map[string]json.RawMessage)
	for range n {
		got, err := r.c.BRPop(r.t.Context(), patience, r.keys.Reply(c.ReplyTo.RoutingKey)).Result()
		check(r.t, err)
		node, _, value, err := celery.DecodeReply([]byte(got[1]))
		check(r.t, err)
		all[node] = value
	}
	return all
}
