package celery_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

func TestControl(t *testing.T) {
	want := &celery.Control{
		Method: "revoke", Arguments: json.RawMessage(`{"task_id": ["a"], "terminate": false}`), Destination: []string{"w@h", "v@h"},
		Ticket: "n-1", ReplyTo: celery.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: "o-1"}, Clock: 7, Expires: time.UnixMicro(1795465236500000).UTC(),
	}
	got, err := celery.DecodeControl(want.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if ids, ok := got.Argument("task_id"); !ok || string(ids) != `["a"]` {
		t.Errorf("task_id %s", ids)
	}
	if _, ok := got.Argument("signal"); ok || !got.WantsReply() {
		t.Errorf("got %+v", got)
	}
	cast := &celery.Control{Method: "heartbeat", Pattern: "w*", Matcher: "glob"}
	got, err = celery.DecodeControl(cast.Append(nil))
	cast.Arguments = json.RawMessage("{}")
	if diff := cmp.Diff(cast, got); err != nil || diff != "" || got.WantsReply() {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "[]", "{}", `{"method": null}`, `{"method": "x", "destination": 5}`, `{"method": "x", "reply_to": []}`} {
		if c, err := celery.DecodeControl([]byte(enveloped(bad))); err == nil {
			t.Errorf("DecodeControl of %q = %+v", bad, c)
		}
	}
}

// TestControlCaptured is what `celery inspect ping` published.
func TestControlCaptured(t *testing.T) {
	const body = `{"method":"ping","arguments":{},"destination":null,"pattern":null,"matcher":null,"ticket":"n-1","reply_to":{"exchange":"reply.celery.pidbox","routing_key":"o-1"}}`
	c, err := celery.DecodeControl([]byte(enveloped(body, `"task": "t.echo", "id": "t-1", "group": "g-1"`, `"clock": 1, "expires": 1795465236.5`)))
	if err != nil || !c.Matches("any@where") || c.Clock != 1 || c.Ticket != "n-1" || (celery.Keys{}).Reply(c.ReplyTo.RoutingKey) != "o-1.reply.celery.pidbox" {
		t.Fatalf("got %+v, %v", c, err)
	}
	value, err := json.Marshal(celery.PongReply())
	if err != nil {
		t.Fatal(err)
	}
	node, ticket, got, err := celery.DecodeReply(celery.AppendReply(nil, "worker1@vm", c, value, 8))
	if err != nil || node != "worker1@vm" || ticket != "n-1" || string(got) != `{"ok":"pong"}` {
		t.Errorf("got %q, %q, %s, %v", node, ticket, got, err)
	}
	for _, bad := range []string{"", "[]", "{}"} {
		if _, _, _, err := celery.DecodeReply([]byte(enveloped(bad))); err == nil {
			t.Errorf("DecodeReply of %q is no error", bad)
		}
	}
}

func TestControlFor(t *testing.T) {
	for _, test := range []struct {
		control celery.Control
		want    bool
	}{
		{celery.Control{}, true},
		{celery.Control{Destination: []string{}}, true},
		{celery.Control{Destination: []string{"v@h", "w@h.d"}}, true},
		{celery.Control{Destination: []string{"v@h"}, Pattern: "*", Matcher: "glob"}, false},
		{celery.Control{Pattern: "nothing"}, true}, // kombu wants both
		{celery.Control{Pattern: "*", Matcher: "own"}, false},
		{celery.Control{Pattern: "w@*", Matcher: "glob"}, true},
		{celery.Control{Pattern: "w@h?d", Matcher: "glob"}, true},
		{celery.Control{Pattern: "w@h", Matcher: "glob"}, false},
		{celery.Control{Pattern: "[vw]@h.[!a-c]", Matcher: "glob"}, true},
		{celery.Control{Pattern: "[!w]@*", Matcher: "glob"}, false},
		{celery.Control{Pattern: "[^w]@*", Matcher: "glob"}, true}, // ^ is a member
		{celery.Control{Pattern: "[]w]@*", Matcher: "glob"}, true},
		{celery.Control{Pattern: "w@h[", Matcher: "glob"}, false},
		{celery.Control{Pattern: "[z-a]*", Matcher: "glob"}, false},
		{celery.Control{Pattern: `w\*`, Matcher: "glob"}, false},
		{celery.Control{Pattern: "w|x", Matcher: "pcre"}, true},
		{celery.Control{Pattern: "@h", Matcher: "pcre"}, false},
		{celery.Control{Pattern: "(", Matcher: "pcre"}, false},
	} {
		if got := test.control.Matches("w@h.d"); got != test.want {
			t.Errorf("%+v is for w@h.d: %t", test.control, got)
		}
	}
}

func TestInspect(t *testing.T) {
	task := decode(t, string(captured(t)))
	task.Args = json.RawMessage("[NaN]")
	for _, test := range []struct {
		value any
		want  string
	}{
		{celery.PongReply(), `{"ok":"pong"}`},
		{task.Info("w@h", time.UnixMicro(1795465390020000), 7), `{"id":"89105af8-f2a1-4c11-b233-23160e984f02","name":"telemetry.telemetry_ingest","args":["NaN"],"kwargs":{},` +
			`"type":"telemetry.telemetry_ingest","hostname":"w@h","time_start":1795465390.02,"acknowledged":false,` +
			`"delivery_info":{"exchange":"","routing_key":"celery","priority":0,"redelivered":false},"worker_pid":7}`},
		{celery.QueryTask{State: "ready", Info: new(celery.Task).Info("w@h", time.Time{}, 0)}, `["ready",{"id":"","name":"","args":[],"kwargs":{},"type":"","hostname":"w@h",` +
			`"time_start":null,"acknowledged":false,"delivery_info":{"exchange":"","routing_key":"","priority":0,"redelivered":false},"worker_pid":null}]`},
		{celery.NewQueueInfo("celery"), `{"name":"celery","exchange":{"name":"celery","type":"direct","arguments":null,"durable":true,"passive":false,"auto_delete":false,` +
			`"delivery_mode":null,"no_declare":false},"routing_key":"celery","queue_arguments":null,"binding_arguments":null,"consumer_arguments":null,"durable":true,` +
			`"exclusive":false,"auto_delete":false,"no_ack":false,"alias":null,"bindings":[],"no_declare":null,"expires":null,"message_ttl":null,"max_length":null,` +
			`"max_length_bytes":null,"max_priority":null}`},
	} {
		got, err := json.Marshal(test.value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
