package celeryqueue_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
)

// attend makes a node of a queue, and waits until it hears.
func (r *rig) attend(q *celeryqueue.Queue, n celeryqueue.WorkerInfo) (stop func()) {
	r.t.Helper()
	before := r.c.PubSubNumSub(r.t.Context(), r.keys.ControlChannel()).Val()[r.keys.ControlChannel()]
	ctx, cancel := context.WithCancel(r.t.Context())
	run, done := q.RunNode(ctx, n), make(chan struct{})
	go func() { defer close(done); run() }()
	stop = func() { cancel(); <-done }
	r.t.Cleanup(stop)
	until(r.t, "the node to hear", func() bool {
		return r.c.PubSubNumSub(r.t.Context(), r.keys.ControlChannel()).Val()[r.keys.ControlChannel()] > before
	})
	return stop
}

// answer is what one node answers.
func (r *rig) answer(method, arguments string) string {
	r.t.Helper()
	all := r.ask(method, arguments)
	if len(all) != 1 {
		r.t.Fatalf("%d nodes answer %s", len(all), method)
	}
	for _, value := range all {
		return string(value)
	}
	return ""
}

func TestControl(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL()+"?node=w@h", celeryqueue.Options{})
	work := &crew{n: 2}
	ended := make(chan bool, 1)
	r.attend(q, celeryqueue.WorkerInfo{Pool: work, Shutdown: func() { ended <- true }, Version: "1"})
	later := call("later")
	later.ETA = time.Now().Add(time.Hour)
	r.send(call("now"), later)
	ds := receive(t, q, 1)
	for _, c := range []struct{ method, arguments, want string }{
		{"ping", "{}", `{"ok":"pong"}`},
		{"registered", "{}", `["` + known + `"]`},
		{"reserved", "{}", `[]`},
		{"active", "{}", `"id":"now"`},
		{"scheduled", "{}", `"id":"later"`},
		{"query_task", `{"ids":["now","later","none"]}`, `{"later":["reserved",`},
		{"active_queues", "{}", `"name":"picket"`},
		{"stats", "{}", `"max-concurrency":2`},
		{"stats", "{}", `"total":{"` + known + `":2}`},
		{"conf", "{}", `"task_default_queue":"celery"`},
		{"report", "{}", `picket:1`},
		{"clock", "{}", `{"clock":`},
		{"hello", `{"from_node":"other@h","revoked":{}}`, `{"revoked":{},"clock":`},
		{"pool_grow", `{"n":3}`, `{"ok":"pool will grow"}`},
		{"stats", "{}", `"max-concurrency":5`},
		{"pool_shrink", `{"n":10}`, `{"ok":"pool will shrink"}`},
		{"stats", "{}", `"max-concurrency":1`},
		{"rate_limit", `{"task_name":"` + known + `","rate_limit":"10/s"}`, `{"ok":"new rate limit set successfully"}`},
		{"rate_limit", `{"task_name":"` + known + `","rate_limit":"ten"}`, `{"error":"Invalid rate limit string`},
		{"rate_limit", `{"task_name":"none","rate_limit":"1/s"}`, `{"error":"unknown task"}`},
		{"rate_limit", `{"task_name":"` + known + `","rate_limit":0}`, `{"ok":"rate limit disabled successfully"}`},
		{"time_limit", `{"task_name":"` + known + `","soft":1,"hard":null}`, `{"ok":"time limits set successfully"}`},
		{"conf", "{}", `"task_soft_time_limit":1`},
		{"enable_events", "{}", `{"ok":"task events enabled"}`},
		{"enable_events", "{}", `{"ok":"task events already enabled"}`},
		{"disable_events", "{}", `{"ok":"task events disabled"}`},
		{"add_consumer", `{"queue":"more"}`, `{"ok":"add consumer more"}`},
		{"add_consumer", `{"queue":"more"}`, `{"ok":"already consuming from more"}`},
		{"active_queues", "{}", `"name":"more"`},
		{"add_consumer", `{}`, `{"error":"add_consumer: no queue is named"}`},
		{"autoscale", `{"max":3,"min":1}`, `{"error":"Autoscale not enabled"}`},
		{"no_such_thing", "{}", `{"error":"KeyError('no_such_thing')"}`},
		{"revoke", `{"task_id":["x","y"],"terminate":true,"signal":"KILL"}`, `{"ok":"tasks [x y] flagged as revoked"}`},
		{"revoked", "{}", `["x","y"]`},
	} {
		if got := r.answer(c.method, c.arguments); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %s, want %s", c.method, c.arguments, got, c.want)
		}
	}
	// A queue that was added is consumed, one that was cancelled is not.
	if got := r.answer("cancel_consumer", `{"queue":"celery"}`); got != `{"ok":"no longer consuming from celery"}` {
		t.Error(got)
	}
	more := call("of more")
	more.RoutingKey = "more"
	r.send(call("left"), more)
	if diff := cmp.Diff([]string{"event of of more"}, events(t, receive(t, q, 1))); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
	check(t, q.Ack(t.Context(), ds...))
	r.c.Publish(t.Context(), r.keys.ControlChannel(), (&celery.Control{Method: "shutdown", Destination: []string{"w@h"}}).Append(nil))
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("not shut down")
	}
	for _, key := range r.c.Keys(t.Context(), "*.reply.celery.pidbox").Val() {
		if r.c.TTL(t.Context(), key).Val() <= 0 {
			t.Errorf("%s never expires", key)
		}
	}
}

// Nodes of one host have names of their own, which are free again.
func TestNodeNames(t *testing.T) {
	r := newRig(t)
	var stop func()
	for range 2 {
		q := open(t, r.URL()+"?node=w@h", celeryqueue.Options{})
		stop = r.attend(q, celeryqueue.WorkerInfo{Pool: &crew{1}})
	}
	var names []string
	for name := range r.ask("ping", "{}") {
		names = append(names, name)
	}
	if len(names) != 2 || names[0] == names[1] {
		t.Errorf("nodes %v", names)
	}
	stop()
	if n := r.c.Exists(t.Context(), "picket:celery:node:w2@h").Val(); n != 0 {
		t.Error("a name is kept by nobody")
	}
	if n := r.c.SCard(t.Context(), r.keys.BindingKey("celery.pidbox")).Val(); n != 1 {
		t.Errorf("%d nodes are bound", n)
	}
	// One that was killed has left its name behind.
	check(t, r.c.Set(t.Context(), "picket:celery:node:w2@h", "killed", 10*time.Second).Err())
	r.attend(open(t, r.URL()+"?node=w@h", celeryqueue.Options{}), celeryqueue.WorkerInfo{Pool: &crew{1}})
	answers := r.ask("ping", "{}")
	if len(answers) != 2 || answers["w2@h"] == nil {
		t.Errorf("nodes %v", answers)
	}
}

func TestRevoked(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	r.attend(q, celeryqueue.WorkerInfo{Pool: &crew{1}})
	r.answer("revoke", `{"task_id":"a"}`)
	later := call("later")
	later.ETA = time.Now().Add(time.Hour)
	r.send(call("a"), later, call("b"))
	ds := receive(t, q, 1)
	if diff := cmp.Diff([]string{"event of b"}, events(t, ds)); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	check(t, q.Ack(t.Context(), ds...))
	drain(t, q)
	r.wantFailure("a", "TaskRevokedError", "revoked")
	r.answer("revoke", `{"task_id":"later"}`)
	r.wantFailure("later", "TaskRevokedError", "revoked")
	// One that starts later knows of it.
	r.send(call("a"))
	other := open(t, r.URL(), celeryqueue.Options{})
	r.send(call("c"))
	drain(t, other)
	r.result("c")
	until(t, "all to be done", func() bool {
		return r.c.LLen(t.Context(), "celery").Val() == 0 && r.c.HLen(t.Context(), "unacked").Val() == 0
	})
	r.wantFailure("a", "TaskRevokedError", "revoked")
}

// What Flower hears: the worker, and with events on all that becomes of tasks.
func TestEvents(t *testing.T) {
	r := newRig(t)
	heard := r.c.PSubscribe(t.Context(), r.keys.EventChannel("*"))
	defer heard.Close()
	_, err := heard.Receive(t.Context())
	check(t, err)
	q := open(t, r.URL()+"?node=w@h", celeryqueue.Options{})
	stop := r.attend(q, celeryqueue.WorkerInfo{Pool: &crew{1}, Version: "1"})
	r.answer("enable_events", "{}")
	drain(t, q)
	bad, late := call("bad"), call("late")
	bad.Args = []byte(`[1]`)
	late.Expires = time.Now().Add(-time.Hour)
	r.send(call("good"), bad, late)
	r.result("good")
	r.result("bad")
	r.result("late")
	until(t, "the last event to be on its way", func() bool { return r.answer("active", "{}") == "[]" })
	stop()
	got := make(map[string][]string)
	for last := false; !last; {
		m, err := heard.ReceiveMessage(t.Context())
		check(t, err)
		es, err := celery.DecodeEvents([]byte(m.Payload))
		check(t, err)
		for _, e := range es {
			if e.Hostname != "w@h" || e.Clock == 0 || e.Time.IsZero() || e.PID == 0 {
				t.Errorf("event %+v", e)
			}
			last = last || e.Type == "worker-offline"
			if e.UUID != "" {
				got[e.UUID] = append(got[e.UUID], e.Type)
			}
			switch e.Type {
			case "worker-online":
				if e.Software != "picket" || e.Version != "1" || e.Freq != 2*time.Second {
					t.Errorf("event %+v", e)
				}
			case "task-received":
				if e.Name != known || !strings.HasPrefix(e.Args, "(") || e.Kwargs != "{}" {
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

func TestChordAndLinks(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	check(t, r.c.Set(t.Context(), r.keys.ChordSize("g"), 2, 0).Err())
	body := celery.Signature{Task: "app.tasks.all", Options: map[string]json.RawMessage{"task_id": []byte(`"body"`), "queue": []byte(`"python"`)}}
	for i, id := range []string{"a", "b"} {
		c := call(id)
		c.GroupID, c.GroupIndex, c.Chord = "g", i, &body
		c.Callbacks = []celery.Signature{{Task: "app.tasks.link", Options: map[string]json.RawMessage{"task_id": []byte(`"link of ` + id + `"`), "queue": []byte(`"python"`)}}}
		r.send(c)
	}
	check(t, q.Ack(t.Context(), receive(t, q, 2)...))
	var sent []string
	for _, raw := range r.c.LRange(t.Context(), "python", 0, -1).Val() {
		task, err := new(celery.Decoder).Decode([]byte(raw))
		check(t, err)
		sent = append(sent, task.ID+" "+task.Name)
		if task.ID == "body" {
			var args [][]map[string]any
			check(t, json.Unmarshal(task.Args, &args))
			if len(args) != 1 || len(args[0]) != 2 || args[0][1]["event_id"] != "event of b" {
				t.Errorf("arguments %s", task.Args)
			}
		}
	}
	if diff := cmp.Diff([]string{"body app.tasks.all", "link of b app.tasks.link", "link of a app.tasks.link"}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if n := r.c.Exists(t.Context(), r.keys.ChordSize("g"), r.keys.ChordResults("g")).Val(); n != 0 {
		t.Error("the chord is kept")
	}
}
