package celery_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/picket-edr/picket/celery"
)

// FuzzDecode: whatever is on the list, a task is refused with one line, or can
// be sent again and is then the same.
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
	again, err := d.Decode(task.Append(nil))
	if err != nil {
		t.Fatalf("%+v can't be sent again: %v", task, err)
	}
	if again.Name != task.Name || !bytes.Equal(again.Args, task.Args) || !bytes.Equal(again.Kwargs, task.Kwargs) || again.ETA.IsZero() != task.ETA.IsZero() {
		t.Fatalf("sent again, %+v is %+v", task, again)
	}
	if !bytes.Equal(again.Embed, task.Embed) || len(again.FollowUps()) != len(task.FollowUps()) {
		t.Fatalf("sent again, %s is %s", task.Embed, again.Embed)
	}
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
	})
}

func FuzzDecodeControl(f *testing.F) {
	c := celery.Control{Method: "ping", Destination: []string{"w@h"}, Pattern: "*", Matcher: "glob", Ticket: "t", ReplyTo: celery.ReplyTo{RoutingKey: "o"}}
	for _, pattern := range []string{"*", "[!a]?[*"} {
		c.Pattern = pattern
		message, err := c.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
		c.Destination = nil
	}
	f.Fuzz(func(t *testing.T, envelope []byte) {
		c, err := celery.DecodeControl(envelope)
		if err != nil {
			return
		}
		c.Matches("w@h")
		message, err := c.Append(nil)
		if err != nil {
			t.Fatalf("%+v cannot be sent again: %v", c, err)
		}
		again, err := celery.DecodeControl(message)
		if err != nil || again.Method != c.Method || again.Matches("w@h") != c.Matches("w@h") || again.WantsReply() != c.WantsReply() {
			t.Fatalf("sent again, %+v is %+v, %v", c, again, err)
		}
		if node, value, err := celery.DecodeReply(celery.AppendReply(nil, "w@h", c, c.Arguments, 1)); err != nil || node != "w@h" {
			t.Fatalf("reply of %q: %s, %v", node, value, err)
		}
	})
}

func FuzzDecodeHeartbeat(f *testing.F) {
	for _, line := range lines(f, "testdata/captured_events.ndjson") {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !bytes.ContainsRune(body, 0) { // as an envelope, too
			celery.DecodeHeartbeat(body)
		}
		h, err := celery.DecodeHeartbeat([]byte(enveloped(string(body))))
		if err != nil {
			return
		}
		e := celery.Event{Type: "worker-heartbeat", Clock: h.Clock, Software: h.Software}
		if again, err := celery.DecodeHeartbeat(celery.AppendEvent(nil, &e)); err != nil || again != h {
			t.Fatalf("sent again, %+v is %+v, %v", h, again, err)
		}
	})
}
