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
		TaskID: "t-1", Status: celery.Failure, Exception: &celery.Exception{Type: "ValueError", Module: "builtins", Args: []json.RawMessage{json.RawMessage(`"bad"`), json.RawMessage("NaN")}},
		Traceback: "Traceback:\n", GroupID: "g-1", ParentID: "p-1", Done: time.Date(2026, 11, 23, 20, 20, 34, 0, time.UTC),
		Children: []celery.ResultChild{{ID: "c-1"}, {ID: "g-2", Members: []celery.ResultChild{{ID: "c-2"}, {ID: "c-3"}}}},
		Extended: &celery.ExtendedResult{Name: "t.echo", Args: json.RawMessage("[1]"), Kwargs: json.RawMessage(`{"a": 2}`), Worker: "w@h", Retries: 3, Queue: "edr"},
	}
	b := want.Append(nil)
	got, err := celery.DecodeResult(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const text = `{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["bad", NaN], "exc_module": "builtins"}, ` +
		`"traceback": "Traceback:\n", "children": [[["c-1", null], null], [["g-2", null], [[["c-2", null], null], [["c-3", null], null]]]], ` +
		`"date_done": "2026-11-23T20:20:34+00:00", "group_id": "g-1", "parent_id": "p-1", ` +
		`"name": "t.echo", "args": [1], "kwargs": {"a": 2}, "worker": "w@h", "retries": 3, "queue": "edr", "task_id": "t-1"}`
	if diff := cmp.Diff(text, string(b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeResult(t *testing.T) {
	for _, test := range []struct{ src, exception, value string }{
		{`{"status": "SUCCESS", "result": {"exc_type": "X"}}`, "None", `{"exc_type": "X"}`},
		{`{"status": "FAILURE", "result": {"exc_type": "X", "exc_message": "flat", "exc_module": null}}`, "X('flat')", ""},
		{`{"status": "FAILURE", "result": {"exc_type": "Outer.Inner", "exc_message": [1, null]}}`, "Inner(1, None)", ""},
		{`{"status": "FAILURE", "result": "odd"}`, "Exception('odd')", ""},
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

func TestStatus(t *testing.T) {
	for status, ready := range map[celery.Status]bool{
		celery.Pending: false, celery.Started: false, celery.Retry: false, celery.Success: true, celery.Failure: true, celery.Revoked: true, "OWN": false,
	} {
		if status.Ready() != ready {
			t.Errorf("%s: ready is %t", status, status.Ready())
		}
	}
}

func TestChord(t *testing.T) {
	member := celery.Result{TaskID: "t-1", Status: celery.Success, Value: json.RawMessage("[2]")}
	b := celery.AppendMember(nil, &member)
	if string(b) != `[1, "t-1", "SUCCESS", [2]]` {
		t.Errorf("member %s", b)
	}
	got, err := celery.DecodeMember(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&member, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	failed := celery.Result{TaskID: "t-2", Status: celery.Failure, Exception: celery.NewException("ValueError", "it's bad")}
	e := celery.ChordError(&failed)
	if e.Module != "celery.exceptions" || e.String() != `ChordError('Dependency t-2 raised ValueError("it\'s bad")')` {
		t.Errorf("got %+v: %s", e, e)
	}
	for _, bad := range []string{"", "{}", "[]", "[1, 2, 3]", "[1, 2, 3, 4, 5]"} {
		if r, err := celery.DecodeMember([]byte(bad)); err == nil {
			t.Errorf("DecodeMember(%s) = %+v", bad, r)
		}
	}
	if _, err := new(celery.Task).ChordCallback(nil); err == nil {
		t.Error("a callback without a chord")
	}
}

func TestChildren(t *testing.T) {
	got := celery.ResultChildren([]celery.Task{{ID: "a"}, {ID: "b", GroupID: "g"}, {ID: "c"}, {ID: "d", GroupID: "g"}})
	want := []celery.ResultChild{{ID: "a"}, {ID: "g", Members: []celery.ResultChild{{ID: "b"}, {ID: "d"}}}, {ID: "c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNext(t *testing.T) {
	sig := func(s string) celery.Signature {
		task := decode(t, enveloped(`[[], {}, {"callbacks": [`+s+`]}]`))
		return task.Callbacks[0]
	}
	parent := celery.Task{ID: "t-1", RootID: "r-1"}
	options := sig(`{"task": "t.x", "args": [ 2 ], "options": {"task_id": "x-1", "queue": "edr", "priority": 6, "eta": "2031-05-04T03:02:01",
		"expires": 60, "soft_time_limit": 2.5, "time_limit": 3, "shadow": "s", "headers": {"h": [1]}, "compression": "gzip", "retries": 2,
		"reply_to": "me", "ignore_result": true, "link": {"task": "t.y"}, "link_error": [null, {"task": "t.z"}], "delivery_mode": 1, "countdown": null}}`)
	parent.Callbacks = []celery.Signature{options}
	before := time.Now()
	next, err := parent.FollowUpTasks(json.RawMessage(`{"n": 1}`))
	if err != nil || len(next) != 1 {
		t.Fatalf("got %+v, %v", next, err)
	}
	got := next[0]
	if got.Expires.Before(before.Add(time.Minute)) || got.Expires.After(time.Now().Add(time.Minute)) {
		t.Errorf("expires at %v, %v after the call", got.Expires, got.Expires.Sub(before))
	}
	got.Expires = time.Time{}
	want := celery.Task{
		ID: "x-1", Name: "t.x", Args: json.RawMessage(`[{"n": 1},  2 ]`), RoutingKey: "edr", Priority: 6, ETA: time.Date(2031, 5, 4, 3, 2, 1, 0, time.UTC),
		SoftLimit: 2500 * time.Millisecond, HardLimit: 3 * time.Second, Shadow: "s", Headers: map[string]json.RawMessage{"h": json.RawMessage("[1]")},
		Compression: "zlib", Retries: 2, ReplyTo: "me", IgnoreResult: true, GroupIndex: -1, RootID: "r-1", ParentID: "t-1",
		Callbacks: []celery.Signature{{Task: "t.y"}}, Errbacks: []celery.Signature{{Task: "t.z"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// A chain with arguments of its own, links, and something after it.
	parent.Callbacks = nil
	parent.Chain = []celery.Signature{
		sig(`{"task": "t.end"}`),
		sig(`{"task": "celery.chain", "args": [7, 8], "subtask_type": "chain", "options": {"task_id": "c-1", "link": [{"task": "t.l"}], "link_error": {"task": "t.e"}},
			"kwargs": {"tasks": [{"task": "t.a", "args": [1], "options": {"link_error": {"task": "t.own"}}}, {"task": "t.b"}, {"task": "t.c"}]}}`),
	}
	next, err = parent.FollowUpTasks(nil)
	if err != nil || len(next) != 1 {
		t.Fatalf("got %+v, %v", next, err)
	}
	got = next[0]
	if string(got.Args) != "[null, 7, 8, 1]" || got.Name != "t.a" || len(got.Errbacks) != 2 || got.Errbacks[0].Task != "t.own" || len(got.Callbacks) != 0 {
		t.Errorf("got %+v", got)
	}
	var names []string
	for _, step := range got.Chain {
		names = append(names, step.Task)
	}
	if diff := cmp.Diff([]string{"t.end", "t.c", "t.b"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c := got.Chain[1]; string(c.Options["task_id"]) != `"c-1"` || !strings.Contains(string(c.Options["link"]), "t.l") {
		t.Errorf("the chain's end is %+v", c)
	}

	// A chain with a group inside, which becomes a chord.
	parent.Chain = nil
	parent.Callbacks = []celery.Signature{sig(`{"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [
		{"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [{"task": "t.a"}, {"task": "t.b"}, {"task": "t.c"}]}}, {"task": "t.sum"}, {"task": "t.end"}]}}`)}
	next, err = parent.FollowUpTasks(json.RawMessage("5"))
	if err != nil || len(next) != 3 {
		t.Fatalf("got %+v, %v", next, err)
	}
	for i, member := range next {
		if member.ChordSize != 3 || member.GroupID != next[0].GroupID || member.GroupIndex != i || string(member.Args) != "[5]" || len(member.Chain) != 0 || member.Chord.Task != "t.sum" {
			t.Errorf("member %+v", member)
		}
	}
	callback, err := next[0].ChordCallback([]json.RawMessage{[]byte("1"), nil, []byte("3")})
	if err != nil || len(callback) != 1 || string(callback[0].Args) != "[[1, null, 3]]" || len(callback[0].Chain) != 1 || callback[0].Chain[0].Task != "t.end" {
		t.Errorf("callback %+v, %v", callback, err)
	}
	empty := sig(`{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [], "body": {"task": "t.sum"}}}`)
	parent.Callbacks = []celery.Signature{empty}
	if next, err = parent.FollowUpTasks(nil); err != nil || len(next) != 1 || string(next[0].Args) != "[[]]" {
		t.Errorf("a chord of nothing: %+v, %v", next, err)
	}

	// Reason can't be started doesn't keep the rest from it.
	parent.Callbacks = []celery.Signature{sig(`{"task": "celery.chunks", "subtask_type": "chunks", "kwargs": {}}`), sig(`{"task": "t.x"}`)}
	parent.Chain = nil
	next, err = parent.FollowUpTasks(nil)
	if err == nil || !strings.Contains(err.Error(), "a chunks can't be started") || len(next) != 1 || next[0].GroupID == "" {
		t.Errorf("got %+v, %v", next, err)
	}
	for _, bad := range []string{
		`{"task": "t.x", "options": {"eta": "soon"}}`, `{"task": "t.x", "options": {"link": 5}}`, `{"task": "t.x", "options": {"chord": 5}}`,
		`{"task": "c", "subtask_type": "chain", "kwargs": {"tasks": []}}`, `{"task": "c", "subtask_type": "group"}`,
		`{"task": "c", "subtask_type": "chord", "kwargs": {}}`, `{"task": "c", "subtask_type": "chord", "kwargs": {"body": {"task": "t"}, "header": [1]}}`,
		`{"task": "c", "subtask_type": "chord", "kwargs": {"body": {"task": "t"}, "header": [{"task": "c", "subtask_type": "group"}]}}`,
	} {
		parent.Callbacks = []celery.Signature{sig(bad)}
		if next, err := parent.FollowUpTasks(nil); err == nil {
			t.Errorf("%s starts as %+v", bad, next)
		}
	}
}
