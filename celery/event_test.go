package celery_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

// TestEventsCaptured reads what Celery published, alone and as an array, and
// writes the same fields in the same order.
func TestEventsCaptured(t *testing.T) {
	all := lines(t, "testdata/captured_events.ndjson")
	if len(all) != 9 {
		t.Fatalf("%d events", len(all))
	}
	var array []celery.Event
	for _, line := range all {
		events, err := celery.DecodeEvents([]byte(enveloped(string(line))))
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %v, %v", line, events, err)
		}
		array = append(array, events...)
		want := strings.NewReplacer(`":`, `": `, `,"`, `, "`, "…", `\u2026`).Replace(string(line))
		want = strings.Replace(want, "[0.32,0.73,0.62]", "[0.32, 0.73, 0.62]", 1)
		if strings.Contains(want, "task-received") { // whose order is here that of task-sent
			sameJSON(t, "task-received", events[0].Append(nil), []byte(want))
			continue
		}
		if diff := cmp.Diff(want, string(events[0].Append(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	again, err := celery.DecodeEvents(celery.AppendEvents(nil, array))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(array, again); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventMessage(t *testing.T) {
	e := celery.Event{Type: "worker-heartbeat", Hostname: "w@h", Freq: 2 * time.Second, Time: time.UnixMicro(1795465236662000), Software: "picket"}
	var envelope struct {
		Headers    map[string]string
		Properties map[string]any
	}
	if err := json.Unmarshal(celery.AppendEvent(nil, &e), &envelope); err != nil {
		t.Fatal(err)
	}
	if envelope.Headers["hostname"] != "w@h" || envelope.Properties["delivery_mode"] != 1.0 {
		t.Errorf("got %+v", envelope)
	}
	want := map[string]any{"exchange": "celeryev", "routing_key": "worker.heartbeat"}
	if diff := cmp.Diff(want, envelope.Properties["delivery_info"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b := e.Append(nil); !json.Valid(b) || !strings.Contains(string(b), `"freq": 2.0, `) || !strings.Contains(string(b), `"timestamp": 1795465236.662, `) {
		t.Errorf("got %s", b)
	}
}

func TestEventKinds(t *testing.T) {
	at := time.UnixMicro(1795465236662001).UTC()
	var want []celery.Event
	for _, e := range []celery.Event{
		{Type: "task-revoked", Terminated: true, Signal: 15, Expired: true},
		{Type: "task-rejected", Requeue: true},
		{Type: "task-retried", Exception: "Retry()", Traceback: "T"},
		{Type: "task-own"},
		{Type: "task-received", Name: "t.echo", RootID: "r", ParentID: "p", Args: "(1,)", Kwargs: "{}", Retries: 1, ETA: at, Expires: at},
		{Type: "task-sent", Name: "t.echo", RootID: "r", Queue: "q", Exchange: "x", RoutingKey: "k"},
	} {
		e.Hostname, e.UTCOffset, e.PID, e.Clock, e.Time, e.UUID = "w@h", -1, 7, 9, at, "t-1"
		want = append(want, e)
	}
	got, err := celery.DecodeEvents(celery.AppendEvents(nil, want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "7", "[7]", "{}", "[{}]", `{"type": "x"} 1`, "[", `{"type": "` + "\xff" + `"}`} {
		if events, err := celery.DecodeEvents([]byte(enveloped(bad))); err == nil {
			t.Errorf("DecodeEvents of %q = %+v", bad, events)
		}
	}
	if events, err := celery.DecodeEvents([]byte(enveloped("[]"))); err != nil || len(events) != 0 {
		t.Errorf("no events: %+v, %v", events, err)
	}
}
