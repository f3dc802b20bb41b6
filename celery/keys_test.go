package celery_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

func TestKeys(t *testing.T) {
	var k celery.Keys
	all := celery.Keys{
		Prefix: "p:", ResultPrefix: "res", DB: 2,
	}
	for _, test := range []struct{ name, got, want string }{
		{"list", k.List("celery", 0), "celery"},
		{"unacked", k.Unacked(), "unacked"},
		{"list of 3", k.List("celery", 3), "celery\x06\x163"},
		{"binding", k.BindingKey("reply.celery.pidbox"), "_kombu.binding.reply.celery.pidbox"},
		{"bound", celery.BindingMember("celery", "celery"), "celery\x06\x16\x06\x16celery"},
		{"result", k.Result("t"), "celery-task-meta-t"},
		{"index", k.UnackedIndex(), "unacked_index"},
		{"events", k.EventChannel("worker-heartbeat"), "/0.celeryev/worker.heartbeat"},
		{"task events", k.EventChannel("task-multi"), "/0.celeryev/task.multi"},
		{"all events", k.EventChannel("*"), "/0.celeryev/*"},
		{"control", k.ControlChannel(), "/0.celery.pidbox"},
		{"reply", k.Reply("o-1"), "o-1.reply.celery.pidbox"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %q, want %q", test.name, test.got, test.want)
		}
	}
	got := []string{
		all.List("q", 4), all.List("q", 9), all.Unacked(), all.UnackedIndex(), all.BindingKey("x"),
		all.Result("t"), all.EventChannel("task-sent"), all.ControlChannel(), all.Reply("o"),
		celery.Keys{ResultPrefix: "r:"}.Result("t"),
	}
	want := []string{
		"p:q\x06\x163", "p:q\x06\x169", "p:unacked", "p:unacked_index", "p:_kombu.binding.x",
		"res_celery-task-meta-t", "p:/2.celeryev/task.sent", "p:/2.celery.pidbox", "p:o.reply.celery.pidbox",
		"r:celery-task-meta-t",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLists(t *testing.T) {
	if diff := cmp.Diff([]string{"q", "q\x06\x163", "q\x06\x166", "q\x06\x169"}, (celery.Keys{}).Lists("q")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for priority, want := range map[int]string{-1: "q", 0: "q", 2: "q", 3: "q\x06\x163", 5: "q\x06\x163", 8: "q\x06\x166", 9: "q\x06\x169", 10: "q\x06\x169"} {
		if got := (celery.Keys{}).List("q", priority); got != want {
			t.Errorf("priority %d: %q", priority, got)
		}
	}
}
