package celery_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/picket-edr/picket/celery"
)

// FuzzDecode: whatever is on the list, a task is refused with one line, or can
// be sent again and is then the same; and its workflow can be followed.
func FuzzDecode(f *testing.F) {
	f.Add(captured(f))
	for _, v := range vectors(f) {
		f.Add([]byte(v.Sent[0].Envelope))
	}
	f.Fuzz(checkDecode)
}

// FuzzDecodeBody is the same for bodies, which base64 hides from the fuzzer.
func FuzzDecodeBody(f *testing.F) {
	for _, v := range vectors(f) {
		task, err := new(celery.Decoder).Decode([]byte(v.Sent[0].Envelope))
		if err == nil {
			f.Add(taskBody(task))
		}
	}
	f.Fuzz(func(t *testing.T, body string) { checkDecode(t, []byte(enveloped(body))) })
}

// taskBody is a task's body, opened.
func taskBody(task *celery.Task) string {
	var e struct{ Body []byte }
	task.Compression = ""
	if err := json.Unmarshal(task.Append(nil), &e); err != nil {
		panic(err)
	}
	return string(e.Body)
}

func checkDecode(t *testing.T, envelope []byte) {
	d := celery.Decoder{MaxBody: 1 << 20}
	task, err := d.Decode(envelope)
	if err != nil {
		var refused *celery.DecodeError
		if !errors.As(err, &refused) || refused.Reason == "" || strings.Contains(refused.Reason+refused.Hint, "\n") {
			t.Fatalf("error %q", err)
		}
		return
	}
	if _, err := celery.NormalizeJSON(nil, task.Args); err != nil {
		t.Fatalf("args %s: %v", task.Args, err)
	}
	task.Compression = ""
	again, err := d.Decode(task.Append(nil))
	if err != nil {
		t.Fatalf("%+v can't be sent again: %v", task, err)
	}
	if again.Name != task.Name || !bytes.Equal(again.Args, task.Args) || !bytes.Equal(again.Kwargs, task.Kwargs) || again.ETA.IsZero() != task.ETA.IsZero() {
		t.Fatalf("sent again, %+v is %+v", task, again)
	}
	if diff := cmp.Diff(task.Chain, again.Chain, cmpopts.EquateEmpty(), cmp.Comparer(sameRaw)); diff != "" {
		t.Fatalf("the chain changed (-before +after):\n%s", diff)
	}
	task.AbortedChain()
	next, _ := task.FollowUpTasks([]byte("[NaN]"))
	failed, _ := task.ErrbackTasks()
	callback, _ := task.ChordCallback([]json.RawMessage{[]byte("1"), nil})
	for _, tasks := range [][]celery.Task{next, failed, callback} {
		for i := range tasks {
			if _, err := d.Decode(tasks[i].Append(nil)); err != nil {
				t.Fatalf("the next task, %+v, is refused: %v", tasks[i], err)
			}
		}
	}
	if redelivered, err := celery.Redelivered(envelope); err != nil {
		t.Fatalf("Redelivered: %v", err)
	} else if again, err := d.Decode(redelivered); err != nil || !again.Redelivered || !bytes.Equal(again.Args, task.Args) {
		t.Fatalf("redelivered as %s: %+v, %v", redelivered, again, err)
	}
}

// sameRaw compares JSON as it was written; no arguments are the empty ones.
func sameRaw(a, b json.RawMessage) bool {
	return string(a) == string(b) || len(a) == 0 && len(b) == len("[]") || len(b) == 0 && len(a) == len("[]")
}

// FuzzPlain: what it returns encoding/json reads, and what that reads it leaves
// alone, but for typed values.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{
		`[1, "a", {"b": null}]`, "NaN", `{"__type__": "uuid", "__value__": {"hex": "89105af8f2a14c11b23323160e984f02"}}`,
		`{"__value__": "1", "__type__": "decimal"}`, `[-Infinity, "\u00e9\n\\"]`, "[1e5, -0.0, 12345678901234567890]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		before := bytes.Clone(src)
		got, err := celery.NormalizeJSON(nil, src)
		if !bytes.Equal(before, src) {
			t.Fatalf("%q was changed", before)
		}
		valid := json.Valid(src)
		if err != nil {
			if valid && !strings.Contains(err.Error(), "UTF-8") && bytes.Count(src, []byte("["))+bytes.Count(src, []byte("{")) < 1000 {
				t.Fatalf("Plain(%q): %v", src, err)
			}
			return
		}
		if !json.Valid(got) {
			t.Fatalf("Plain(%q) = %q, which is no JSON", src, got)
		}
		if valid && !bytes.Contains(src, []byte("__type__")) && !bytes.Contains(src, []byte(`\u`)) && !bytes.Equal(got, src) {
			t.Fatalf("Plain(%q) = %q", src, got)
		}
		if again, err := celery.NormalizeJSON(nil, got); err != nil || !bytes.Contains(src, []byte("__type__")) && !bytes.Equal(again, got) {
			t.Fatalf("Plain(%q) = %q, %v", got, again, err)
		}
		celery.Repr(nil, src, 100)
	})
}

func FuzzDecodeControl(f *testing.F) {
	c := celery.Control{Method: "ping", Destination: []string{"w@h"}, Pattern: "*", Matcher: "glob", Ticket: "t", ReplyTo: celery.ReplyTo{RoutingKey: "o"}}
	f.Add(c.Append(nil))
	c.Destination, c.Pattern = nil, "[!a]?[*"
	f.Add(c.Append(nil))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		c, err := celery.DecodeControl(envelope)
		if err != nil {
			return
		}
		c.Matches("w@h")
		again, err := celery.DecodeControl(c.Append(nil))
		if err != nil || again.Method != c.Method || again.Matches("w@h") != c.Matches("w@h") || again.WantsReply() != c.WantsReply() {
			t.Fatalf("sent again, %+v is %+v, %v", c, again, err)
		}
		if node, ticket, value, err := celery.DecodeReply(celery.AppendReply(nil, "w@h", c, c.Arguments, 1)); err != nil || node != "w@h" || ticket != c.Ticket {
			t.Fatalf("reply of %q to %q: %s, %v", node, ticket, value, err)
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	for _, line := range lines(f, "testdata/captured_results.ndjson") {
		f.Add(line)
	}
	for _, v := range vectors(f) {
		for _, r := range v.Results {
			f.Add([]byte(r))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := celery.DecodeResult(b)
		if err != nil {
			return
		}
		again, err := celery.DecodeResult(r.Append(nil))
		if err != nil || again.Status != r.Status || again.TaskID != r.TaskID || again.Exception.String() != r.Exception.String() {
			t.Fatalf("written again, %+v is %+v, %v", r, again, err)
		}
		if member, err := celery.DecodeMember(celery.AppendMember(nil, r)); err != nil || member.TaskID != r.TaskID {
			t.Fatalf("member %+v, %v", member, err)
		}
	})
}

func FuzzDecodeEvents(f *testing.F) {
	for _, line := range lines(f, "testdata/captured_events.ndjson") {
		f.Add(line)
		f.Add(bytes.Join([][]byte{[]byte("["), line, []byte(","), line, []byte("]")}, nil))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !bytes.ContainsRune(body, 0) { // as an envelope, too
			celery.DecodeEvents(body)
		}
		events, err := celery.DecodeEvents([]byte(enveloped(string(body))))
		if err != nil {
			return
		}
		again, err := celery.DecodeEvents(celery.AppendEvents(nil, events))
		if err != nil || len(again) != len(events) {
			t.Fatalf("sent again, %+v is %+v, %v", events, again, err)
		}
		for i := range again {
			if again[i].Type != events[i].Type || again[i].UUID != events[i].UUID && !strings.HasPrefix(again[i].Type, "worker-") || again[i].Clock != events[i].Clock {
				t.Fatalf("sent again, %+v is %+v", events[i], again[i])
			}
		}
	})
}
