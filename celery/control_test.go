package celery_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

func TestControl(t *testing.T) {
	want := &celery.Control{
		Method: "revoke", Arguments: json.RawMessage(`{"task_id":["a"],"terminate":false}`), Destination: []string{"w@h", "v@h"},
		Ticket: "n-1", ReplyTo: celery.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: "o-1"}, Clock: 7, Expires: time.UnixMicro(1795465236500000).UTC(),
	}
	got := resent(t, want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !got.WantsReply() {
		t.Errorf("got %+v", got)
	}
	cast := &celery.Control{Method: "heartbeat", Pattern: "w*", Matcher: "glob"}
	got = resent(t, cast)
	cast.Arguments = json.RawMessage("null")
	if diff := cmp.Diff(cast, got); diff != "" || got.WantsReply() {
		t.Errorf("(-want +got):\n%s", diff)
	}
	asking := celery.NewControl("ping", time.Time{})
	if !asking.WantsReply() || asking.Ticket == "" || asking.ReplyTo.Exchange != "reply.celery.pidbox" {
		t.Errorf("got %+v", asking)
	}
	if b, err := (&celery.Control{Method: "x", Arguments: json.RawMessage("{")}).Append(nil); err == nil {
		t.Errorf("arguments that are not JSON are sent as %s", b)
	}
	for _, bad := range []string{"", "[]", "{}", `{"method": null}`, `{"method": "x", "destination": 5}`, `{"method": "x", "reply_to": []}`} {
		if c, err := celery.DecodeControl([]byte(enveloped(bad))); err == nil {
			t.Errorf("DecodeControl of %q = %+v", bad, c)
		}
	}
}

// resent returns a command as its receivers decode it.
func resent(t *testing.T, c *celery.Control) *celery.Control {
	t.Helper()
	message, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := celery.DecodeControl(message)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestControlCaptured is what `celery inspect ping` published.
func TestControlCaptured(t *testing.T) {
	const body = `{"method":"ping","arguments":{},"destination":null,"pattern":null,"matcher":null,"ticket":"n-1","reply_to":{"exchange":"reply.celery.pidbox","routing_key":"o-1"}}`
	c, err := celery.DecodeControl([]byte(enveloped(body, `"task": "t.echo", "id": "t-1", "group": "g-1"`, `"clock": 1, "expires": 1795465236.5`)))
	if err != nil || !c.Matches("any@where") || c.Clock != 1 || c.Ticket != "n-1" || (celery.Keys{}).Reply(c.ReplyTo.RoutingKey) != "o-1.reply.celery.pidbox" {
		t.Fatalf("got %+v, %v", c, err)
	}
	reply := celery.AppendReply(nil, "worker1@vm", c, json.RawMessage(`{"ok":"pong"}`), 8)
	if !strings.Contains(string(reply), `"headers": {"ticket": "n-1", "clock": 8}`) {
		t.Errorf("reply %s", reply)
	}
	node, got, err := celery.DecodeReply(reply)
	if err != nil || node != "worker1@vm" || string(got) != `{"ok":"pong"}` {
		t.Errorf("got %q, %s, %v", node, got, err)
	}
	for _, bad := range []string{"", "[]", "{}"} {
		if _, _, err := celery.DecodeReply([]byte(enveloped(bad))); err == nil {
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
		{celery.Control{Pattern: "nothing"}, true},             // kombu wants both
		{celery.Control{Pattern: "*", Matcher: "glob"}, false}, // not supported
	} {
		if got := test.control.Matches("w@h.d"); got != test.want {
			t.Errorf("%+v is for w@h.d: %t", test.control, got)
		}
	}
}
