package celeryworker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/celeryworker"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue/celerytest"
	"github.com/picket-edr/picket/internal/testenv"
)

// A pool is a worker pool without workers.
type pool struct{ n int }

func (p *pool) Concurrency() int { return p.n }
func (p *pool) Resize(n int)     { p.n = n }

// runNode runs the node of a queue, and returns once it listens.
func runNode(r *celerytest.Broker, q *celeryqueue.Queue, o celeryworker.NodeOptions) (stop func()) {
	r.T.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	channel := r.Keys.ControlChannel()
	before := r.Client.PubSubNumSub(r.T.Context(), channel).Val()[channel]
	ctx, cancel := context.WithCancel(r.T.Context())
	n, done := celeryworker.New(q, o), make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	stop = func() { cancel(); <-done }
	r.T.Cleanup(stop)
	testenv.Until(r.T, "the node listens", func() bool {
		return r.Client.PubSubNumSub(r.T.Context(), channel).Val()[channel] > before
	})
	return stop
}

// reply returns the reply of the only node to a command.
func reply(r *celerytest.Broker, method, arguments string) string {
	r.T.Helper()
	all := r.Broadcast(method, arguments)
	if len(all) != 1 {
		r.T.Fatalf("%d nodes reply to %s", len(all), method)
	}
	for _, value := range all {
		return string(value)
	}
	return ""
}

func TestControl(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL()+"?node=w@h", celeryqueue.Options{})
	work := &pool{n: 2}
	ended := make(chan bool, 1)
	runNode(r, q, celeryworker.NodeOptions{Pool: work, Shutdown: func() { ended <- true }, Version: "1"})
	later := celerytest.NewEventTask("later")
	later.ETA = time.Now().Add(time.Hour)
	r.Publish(celerytest.NewEventTask("now"), later)
	ds := celerytest.ReceiveTasks(t, q, 1)
	for _, c := range []struct{ method, arguments, want string }{
		{"ping", "{}", `{"ok":"pong"}`},
		{"registered", "{}", `["` + celerytest.TaskName + `"]`},
		{"reserved", "{}", `[]`},
		{"active", "{}", `"id":"now"`},
		{"scheduled", "{}", `"id":"later"`},
		{"active_queues", "{}", `"name":"picket"`},
		{"stats", "{}", `"max-concurrency":2`},
		{"stats", "{}", `"total":{"` + celerytest.TaskName + `":2}`},
		{"conf", "{}", `"task_default_queue":"celery"`},
		{"hello", `{"from_node":"other@h","revoked":{}}`, `"revoked":{}`},
		{"pool_grow", `{"n":3}`, `{"ok":"pool will grow"}`},
		{"stats", "{}", `"max-concurrency":5`},
		{"pool_shrink", `{"n":10}`, `{"ok":"pool will shrink"}`},
		{"stats", "{}", `"max-concurrency":1`},
		{"enable_events", "{}", `{"ok":"task events enabled"}`},
		{"enable_events", "{}", `{"ok":"task events already enabled"}`},
		{"disable_events", "{}", `{"ok":"task events disabled"}`},
		{"rate_limit", `{"task_name":"` + celerytest.TaskName + `","rate_limit":"10/s"}`, `{"error":"KeyError('rate_limit')"}`},
		{"query_task", `{"ids":["now"]}`, `{"error":"KeyError('query_task')"}`},
		{"autoscale", `{"max":3,"min":1}`, `{"error":"KeyError('autoscale')"}`},
		{"add_consumer", `{"queue":"more"}`, `{"error":"KeyError('add_consumer')"}`},
		{"no_such_thing", "{}", `{"error":"KeyError('no_such_thing')"}`},
		{"revoke", `{"task_id":["x","y"],"terminate":true,"signal":"KILL"}`, `{"ok":"tasks [x y] flagged as revoked"}`},
		{"revoked", "{}", `["x","y"]`},
	} {
		if got := reply(r, c.method, c.arguments); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %s, want %s", c.method, c.arguments, got, c.want)
		}
	}
	testenv.Check(t, q.Ack(t.Context(), ds...))
	shutdown, err := (&celery.Control{Method: "shutdown", Destination: []string{"w@h"}}).Append(nil)
	testenv.Check(t, err)
	r.Client.Publish(t.Context(), r.Keys.ControlChannel(), shutdown)
	select {
	case <-ended:
	case <-time.After(testenv.Timeout):
		t.Error("not shut down")
	}
	for _, key := range r.Client.Keys(t.Context(), "*.reply.celery.pidbox").Val() {
		if r.Client.TTL(t.Context(), key).Val() <= 0 {
			t.Errorf("%s never expires", key)
		}
	}
}

// Nodes of one host have names of their own, which are free again.
func TestNodeNames(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	var stop func()
	for range 2 {
		q := celerytest.Open(t, r.URL()+"?node=w@h", celeryqueue.Options{})
		stop = runNode(r, q, celeryworker.NodeOptions{Pool: &pool{1}})
	}
	var names []string
	for name := range r.Broadcast("ping", "{}") {
		names = append(names, name)
	}
	if len(names) != 2 || names[0] == names[1] {
		t.Errorf("nodes %v", names)
	}
	stop()
	if n := r.Client.Exists(t.Context(), "picket:celery:node:w2@h").Val(); n != 0 {
		t.Error("a name is kept by nobody")
	}
	if n := r.Client.SCard(t.Context(), r.Keys.BindingKey("celery.pidbox")).Val(); n != 1 {
		t.Errorf("%d nodes are bound", n)
	}
	// One that was killed has left its name behind.
	testenv.Check(t, r.Client.Set(t.Context(), "picket:celery:node:w2@h", "killed", 4*time.Second).Err())
	runNode(r, celerytest.Open(t, r.URL()+"?node=w@h", celeryqueue.Options{}), celeryworker.NodeOptions{Pool: &pool{1}})
	answers := r.Broadcast("ping", "{}")
	if len(answers) != 2 || answers["w2@h"] == nil {
		t.Errorf("nodes %v", answers)
	}
}

func TestRevoked(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	runNode(r, q, celeryworker.NodeOptions{Pool: &pool{1}})
	reply(r, "revoke", `{"task_id":"a"}`)
	later := celerytest.NewEventTask("later")
	later.ETA = time.Now().Add(time.Hour)
	r.Publish(celerytest.NewEventTask("a"), later, celerytest.NewEventTask("b"))
	ds := celerytest.ReceiveTasks(t, q, 1)
	if diff := cmp.Diff([]string{"event of b"}, celerytest.EventIDs(t, ds)); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	testenv.Check(t, q.Ack(t.Context(), ds...))
	celerytest.AckInBackground(t, q)
	r.WantFailure("a", "TaskRevokedError", "revoked")
	reply(r, "revoke", `{"task_id":"later"}`)
	r.WantFailure("later", "TaskRevokedError", "revoked")
	// One that starts later knows of it.
	r.Publish(celerytest.NewEventTask("a"))
	other := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("c"))
	celerytest.AckInBackground(t, other)
	r.WaitResult("c")
	testenv.Until(t, "all to be done", func() bool {
		return r.Client.LLen(t.Context(), "celery").Val() == 0 && r.Client.HLen(t.Context(), "unacked").Val() == 0
	})
	r.WantFailure("a", "TaskRevokedError", "revoked")
}

// What Flower hears: the worker, and with events on all that becomes of tasks.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	events := r.Client.PSubscribe(t.Context(), r.Keys.EventChannel("*"))
	defer events.Close()
	_, err := events.Receive(t.Context())
	testenv.Check(t, err)
	q := celerytest.Open(t, r.URL()+"?node=w@h", celeryqueue.Options{})
	stop := runNode(r, q, celeryworker.NodeOptions{Pool: &pool{1}, Version: "1"})
	reply(r, "enable_events", "{}")
	celerytest.AckInBackground(t, q)
	bad, late := celerytest.NewEventTask("bad"), celerytest.NewEventTask("late")
	bad.Args = []byte(`[1]`)
	late.Expires = time.Now().Add(-time.Hour)
	r.Publish(celerytest.NewEventTask("good"), bad, late)
	r.WaitResult("good")
	r.WaitResult("bad")
	r.WaitResult("late")
	got, finished := make(map[string][]string), 0
	for last := false; !last; {
		m, err := events.ReceiveMessage(t.Context())
		testenv.Check(t, err)
		for _, e := range celerytest.DecodeEvents(t, m.Payload) {
			if e.Hostname != "w@h" || e.Clock == 0 || e.Timestamp == 0 || e.PID == 0 {
				t.Errorf("event %+v", e)
			}
			last = last || e.Type == "worker-offline"
			if e.UUID != "" {
				got[e.UUID] = append(got[e.UUID], e.Type)
			}
			if e.Type == "task-succeeded" || e.Type == "task-failed" || e.Type == "task-revoked" {
				if finished++; finished == 3 {
					stop()
				}
			}
			switch e.Type {
			case "worker-online":
				if e.Software != "picket" || e.Version != "1" || e.Freq != 2 {
					t.Errorf("event %+v", e)
				}
			case "task-received":
				if e.Name != celerytest.TaskName || !strings.HasPrefix(e.Args, "(") || e.Kwargs != "{}" {
					t.Errorf("event %+v", e)
				}
			case "task-succeeded":
				if e.Result != "{'status': 'success', 'event_id': 'event of good', 'event_type': 'process', 'alerts_created': 0}" || e.Runtime <= 0 {
					t.Errorf("event %+v", e)
				}
			case "task-failed":
				if !strings.HasPrefix(e.Exception, "ValueError('") || !strings.HasPrefix(e.Traceback, "Traceback ") {
					t.Errorf("event %+v", e)
				}
			case "task-revoked":
				if !e.Expired {
					t.Errorf("event %+v", e)
				}
			}
		}
	}
	want := map[string][]string{
		"good": {"task-received", "task-started", "task-succeeded"},
		"bad":  {"task-received", "task-started", "task-failed"},
		"late": {"task-received", "task-revoked"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A broker that goes and comes back finds worker and node as they were: the
// commonest complaint about Celery is a worker that then does nothing.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	runNode(r, q, celeryworker.NodeOptions{Pool: &pool{1}})
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
		r.StartAgain()
		id := fmt.Sprint(i)
		r.Publish(celerytest.NewEventTask(id))
		if got := r.WaitResult(id); got.Status != celery.Success {
			t.Errorf("%s is %s", id, got.Status)
		}
		testenv.Until(t, "the node to hear again", func() bool { return len(r.Broadcast("ping", "{}")) == 1 })
	}
}
