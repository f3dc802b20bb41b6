package celery_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

// TestResultsCaptured reads what Celery stored, and writes it byte for byte.
func TestResultsCaptured(t *testing.T) {
	for _, line := range lines(t, "testdata/captured_results.ndjson") {
		r, err := celery.DecodeResult(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		// Python writes ASCII only.
		want := string(bytes.ReplaceAll(line, []byte("…"), []byte(`\u2026`)))
		if diff := cmp.Diff(want, string(r.Append(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestResult(t *testing.T) {
	want := &celery.Result{
		TaskID: "t-1", Status: celery.Failure, Exception: &celery.Exception{Type: "ValueError", Module: "builtins", Args: []json.RawMessage{json.RawMessage(`"bad"`), json.RawMessage("7")}},
		Traceback: "Traceback:\n", GroupID: "g-1", ParentID: "p-1", Done: time.Date(2026, 11, 23, 20, 20, 34, 0, time.UTC),
	}
	b := want.Append(nil)
	got, err := celery.DecodeResult(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const text = `{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["bad", 7], "exc_module": "builtins"}, ` +
		`"traceback": "Traceback:\n", "children": [], ` +
		`"date_done": "2026-11-23T20:20:34+00:00", "group_id": "g-1", "parent_id": "p-1", "task_id": "t-1"}`
	if diff := cmp.Diff(text, string(b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatus(t *testing.T) {
	for status, ready := range map[celery.Status]bool{
		"PENDING": false, "STARTED": false, celery.Retry: false, celery.Success: true, celery.Failure: true, celery.Revoked: true, "OWN": false,
	} {
		if status.Ready() != ready {
			t.Errorf("%s: ready is %t", status, status.Ready())
		}
	}
}

func TestDecodeResult(t *testing.T) {
	for _, test := range []struct{ src, exception, value string }{
		{`{"status": "SUCCESS", "result": {"exc_type": "X"}}`, "None", `{"exc_type": "X"}`},
		{`{"status": "FAILURE", "result": {"exc_type": "X", "exc_message": ["it's", 1], "exc_module": null}}`, `X("it's", 1)`, ""},
		{`{"status": "FAILURE", "result": "odd"}`, "None", `"odd"`},
		{`{"status": "SUCCESS", "result": [NaN], "date_done": "2026-11-23T20:20:34.670292"}`, "None", `["NaN"]`},
		{`{"status": "REVOKED", "result": null}`, "None", "null"},
		{`{"status": "STARTED", "result": {"pid": 1, "hostname": "w@h"}, "children": null, "date_done": null}`, "None", `{"pid": 1, "hostname": "w@h"}`},
	} {
		r, err := celery.DecodeResult([]byte(test.src))
		if err != nil || r.Exception.String() != test.exception || string(r.Value) != test.value {
			t.Errorf("DecodeResult(%s) = %+v, %v", test.src, r, err)
		}
	}
	for _, src := range []string{"", "[]", "{}", `{"status": null}`, `{"status": "SUCCESS", "date_done": "soon"}`, `{"status": "SUCCESS"} x`, "{\"status\": \"\xff\"}"} {
		if r, err := celery.DecodeResult([]byte(src)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("DecodeResult(%q) = %+v, %v", src, r, err)
		}
	}
}
