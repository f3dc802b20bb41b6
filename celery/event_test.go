package celery_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

// pythonEvent returns an event that Celery published.
func pythonEvent(t testing.TB, line []byte) celery.Event {
	t.Helper()
	var e struct {
		celery.Event
		Timestamp, Freq, Runtime float64
		Root_ID, Parent_ID       string
		Sw_Ident, Sw_Ver, Sw_Sys string
	}
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	event := e.Event
	event.Time = time.UnixMicro(int64(e.Timestamp*1e6 + 0.5))
	event.Freq, event.Runtime = time.Duration(e.Freq*1e9), time.Duration(e.Runtime*1e9+0.5)
	event.RootID, event.ParentID = e.Root_ID, e.Parent_ID
	event.Software, event.Version, event.System = e.Sw_Ident, e.Sw_Ver, e.Sw_Sys
	return event
}

// TestEventsCaptured writes what Celery published, byte for byte, alone and as an
// array.
func TestEventsCaptured(t *testing.T) {
	all := lines(t, "testdata/captured_events.ndjson")
	if len(all) != 9 {
		t.Fatalf("%d events", len(all))
	}
	var events []celery.Event
	var texts []string
	for _, line := range all {
		e := pythonEvent(t, line)
		if e.Type == "task-sent" { // a producer's, which is not written here
			continue
		}
		want := strings.NewReplacer(`":`, `": `, `,"`, `, "`, "…", `\u2026`).Replace(string(line))
		want = strings.Replace(want, "[0.32,0.73,0.62]", "[0.32, 0.73, 0.62]", 1)
		if diff := cmp.Diff(want, string(e.AppendJSON(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		events, texts = append(events, e), append(texts, want)
	}
	if diff := cmp.Diff("["+strings.Join(texts, ", ")+"]", eventBody(t, celery.AppendEvents(nil, events))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// eventBody is the body of a message.
func eventBody(t testing.TB, message []byte) string {
	t.Helper()
	var envelope struct{ Body []byte }
	if err := json.Unmarshal(message, &envelope); err != nil {
		t.Fatal(err)
	}
	return string(envelope.Body)
}

func TestEventMessage(t *testing.T) {
	e := celery.Event{Type: "worker-heartbeat", Hostname: "w@h", Freq: 2 * time.Second, Clock: 7, Time: time.UnixMicro(1795465236662000), Software: "picket"}
	message := celery.AppendEvent(nil, &e)
	var envelope struct {
		Headers    map[string]string
		Properties map[string]any
	}
	if err := json.Unmarshal(message, &envelope); err != nil {
		t.Fatal(err)
	}
	if envelope.Headers["hostname"] != "w@h" || envelope.Properties["delivery_mode"] != 1.0 {
		t.Errorf("got %+v", envelope)
	}
	want := map[string]any{"exchange": "celeryev", "routing_key": "worker.heartbeat"}
	if diff := cmp.Diff(want, envelope.Properties["delivery_info"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b := e.AppendJSON(nil); !json.Valid(b) || !strings.Contains(string(b), `"freq": 2.0, `) || !strings.Contains(string(b), `"timestamp": 1795465236.662, `) {
		t.Errorf("got %s", b)
	}
	if h, err := celery.DecodeHeartbeat(message); err != nil || h != (celery.Heartbeat{Clock: 7, Software: "picket"}) {
		t.Errorf("heartbeat %+v, %v", h, err)
	}
}

func TestEventKinds(t *testing.T) {
	at := time.UnixMicro(1795465236662001).UTC()
	const common = `{"hostname": "w@h", "utcoffset": -1, "pid": 7, "clock": 9, "uuid": "t-1", `
	for want, e := range map[string]celery.Event{
		`"terminated": false, "signum": null, "expired": true, `: {Type: "task-revoked", Expired: true},
		`"exception": "Retry()", "traceback": "T", `:             {Type: "task-retried", Exception: "Retry()", Traceback: "T"},
		`"exception": "ValueError()", "traceback": null, `:       {Type: "task-failed", Exception: "ValueError()"},
		``: {Type: "task-own"},
		`"name": "t.echo", "args": "(1,)", "kwargs": "{}", "root_id": "r", "parent_id": "p", "retries": 1, "eta": "2026-11-23T20:20:36.662001+00:00", "expires": null, `: {
			Type: "task-received", Name: "t.echo", RootID: "r", ParentID: "p", Args: "(1,)", Kwargs: "{}", Retries: 1, ETA: at},
	} {
		e.Hostname, e.UTCOffset, e.PID, e.Clock, e.Time, e.UUID = "w@h", -1, 7, 9, at, "t-1"
		want = common + want + `"timestamp": 1795465236.662001, "type": "` + e.Type + `"}`
		if diff := cmp.Diff(want, string(e.AppendJSON(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for _, bad := range []string{"", "7", "[7]", "[{}]", `{"type": "x"} 1`, "[", `{"type": "` + "\xff" + `"}`} {
		if h, err := celery.DecodeHeartbeat([]byte(enveloped(bad))); err == nil {
			t.Errorf("DecodeHeartbeat of %q = %+v", bad, h)
		}
	}
}
