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

// pythonResult returns a result that Celery stored.
func pythonResult(t testing.TB, line []byte) *celery.Result {
	t.Helper()
	var r struct {
		Status, Traceback string
		Result            json.RawMessage
		GroupID           string `json:"group_id"`
		ParentID          string `json:"parent_id"`
		ID                string `json:"task_id"`
		Done              string `json:"date_done"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	result := &celery.Result{TaskID: r.ID, Status: celery.Status(r.Status), Traceback: r.Traceback, GroupID: r.GroupID, ParentID: r.ParentID, Value: r.Result}
	var e struct {
		Type   string            `json:"exc_type"`
		Module string            `json:"exc_module"`
		Args   []json.RawMessage `json:"exc_message"`
	}
	if json.Unmarshal(r.Result, &e) == nil && e.Type != "" {
		result.Exception = &celery.Exception{Type: e.Type, Module: e.Module, Args: e.Args}
	}
	if r.Done != "" {
		if !strings.ContainsAny(r.Done[11:], "+-") { // Celery 5.2
			r.Done += "+00:00"
		}
		var err error
		if result.Done, err = time.Parse(time.RFC3339, r.Done); err != nil {
			t.Fatal(err)
		}
	}
	return result
}

// TestResultsCaptured writes what Celery stored, byte for byte.
func TestResultsCaptured(t *testing.T) {
	for _, line := range lines(t, "testdata/captured_results.ndjson") {
		// Python writes ASCII only.
		want := string(bytes.ReplaceAll(line, []byte("…"), []byte(`\u2026`)))
		r := pythonResult(t, line)
		if diff := cmp.Diff(want, string(r.Append(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := celery.ResultStatus(line); got != r.Status {
			t.Errorf("status %s, want %s", got, r.Status)
		}
	}
}

func TestResult(t *testing.T) {
	r := &celery.Result{
		TaskID: "t-1", Status: celery.Failure, Exception: &celery.Exception{Type: "ValueError", Args: []json.RawMessage{json.RawMessage(`"bad"`), json.RawMessage("NaN")}},
		Traceback: "Traceback:\n", GroupID: "g-1", ParentID: "p-1", Done: time.Date(2026, 11, 23, 20, 20, 34, 0, time.UTC),
	}
	const text = `{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["bad", NaN], "exc_module": "builtins"}, ` +
		`"traceback": "Traceback:\n", "children": [], "date_done": "2026-11-23T20:20:34+00:00", "group_id": "g-1", "parent_id": "p-1", "task_id": "t-1"}`
	if diff := cmp.Diff(text, string(r.Append(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Exception.Args = []json.RawMessage{json.RawMessage(`"it's"`), json.RawMessage("7")}
	if got := r.Exception.String(); got != `ValueError("it's", 7)` {
		t.Errorf("repr %s", got)
	}
	r = &celery.Result{TaskID: "t-1", Status: celery.Success}
	const empty = `{"status": "SUCCESS", "result": null, "traceback": null, "children": [], "date_done": null, "task_id": "t-1"}`
	if diff := cmp.Diff(empty, string(r.Append(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatus(t *testing.T) {
	for stored, want := range map[string]celery.Status{
		`{"status": "SUCCESS", "result": [NaN]}`: celery.Success, `{"result": {"status": "SUCCESS"}, "status": "RETRY"}`: celery.Retry,
		"": "", "[]": "", "{}": "", `{"status": null}`: "", `{"status": "SUCCESS"`: "",
	} {
		if got := celery.ResultStatus([]byte(stored)); got != want {
			t.Errorf("status of %s is %q", stored, got)
		}
	}
}
