package celeryqueue_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
)

func TestResultOfTask(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	quietly := call("c")
	quietly.IgnoreResult = true
	group := call("b")
	group.GroupID, group.GroupIndex = "g", 1
	r.send(call("a"), group, quietly)
	ds := receive(t, q, 3)
	if diff := cmp.Diff([]string{"event of a", "event of b", "event of c"}, events(t, ds)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for _, d := range ds {
		q.ReportResult(d, []picket.Match{{EventID: "event of a"}, {EventID: "event of a"}, {EventID: "event of other"}})
	}
	heard := r.c.Subscribe(t.Context(), r.keys.Result("a"))
	defer heard.Close()
	_, err := heard.Receive(t.Context())
	check(t, err)
	check(t, q.Ack(t.Context(), ds...))
	const want = `{"status":"success","event_id":"event of a","event_type":"process","alerts_created":2}`
	if got := r.result("a"); got.Status != celery.Success || string(got.Value) != want {
		t.Errorf("%s %s", got.Status, got.Value)
	}
	m, err := heard.ReceiveMessage(t.Context())
	check(t, err)
	if m.Payload != r.c.Get(t.Context(), r.keys.Result("a")).Val() {
		t.Errorf("published %s", m.Payload)
	}
	if ttl := r.c.TTL(t.Context(), r.keys.Result("a")).Val(); ttl <= 23*time.Hour || ttl > 24*time.Hour {
		t.Errorf("expires in %s", ttl)
	}
	if got := r.result("b"); got.GroupID != "g" {
		t.Errorf("group %q", got.GroupID)
	}
	if r.c.Exists(t.Context(), r.keys.Result("c")).Val() != 0 {
		t.Error("a result that nobody wanted")
	}
	r.wantQuiet()
}

func TestSuccessStays(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	r.send(call("a"))
	check(t, q.Ack(t.Context(), receive(t, q, 1)...))
	first := r.c.Get(t.Context(), r.keys.Result("a")).Val()
	again := call("a") // and now it is none
	again.Args = []byte(`["text"]`)
	r.send(again, call("b"))
	check(t, q.Ack(t.Context(), receive(t, q, 1)...))
	if got := r.c.Get(t.Context(), r.keys.Result("a")).Val(); got != first {
		t.Errorf("from %s to %s", first, got)
	}
}

// What cannot be run fails with a class and a text, and is kept.
func TestRefused(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	drain(t, q)
	noDict, noArgument, foreign := call("no dict"), call("no argument"), call("foreign")
	noDict.Args = []byte(`["text"]`)
	noArgument.Args = []byte(`[]`)
	foreign.Name, foreign.RoutingKey = "app.tasks.other", "picket"
	nothing := call("nothing")
	nothing.Args = []byte(`[{}]`)
	r.send(noDict, noArgument, foreign, nothing)
	pickled := call("pickled")
	check(t, r.c.LPush(t.Context(), "celery", strings.Replace(string(pickled.Append(nil)), "application/json", "application/x-python-serialize", 1)).Err())
	check(t, r.c.LPush(t.Context(), "picket", "no JSON").Err())

	r.wantFailure("no dict", "ValueError", "Invalid data. Expected a dictionary, but got str.")
	r.wantFailure("no argument", "ValueError", known+"() missing 1 required positional argument: 'data'")
	r.wantFailure("foreign", "NotRegistered", "app.tasks.other")
	r.wantFailure("nothing", "ValueError", "agent_id: This field is required.; event_id: This field is required.; event_type: This field is required.")
	if got := r.result("pickled"); got.Exception.Type != "DecodeError" || got.Exception.Module != "kombu.exceptions" || !strings.Contains(got.Exception.String(), "pickle") {
		t.Errorf("pickled is %s", got.Exception)
	}
	var letters []queue.DeadLetter
	until(t, "six letters", func() bool {
		var err error
		letters, err = q.DeadLetters(t.Context(), 0, 10)
		check(t, err)
		return len(letters) == 6
	})
	for _, l := range letters {
		if l.Reason != queue.Rejected || l.Cause == "" || len(l.Payload) == 0 {
			t.Errorf("letter %+v", l)
		}
	}
	// Put back, they die again of the same.
	n, err := q.Requeue(t.Context())
	check(t, err)
	if n != 6 {
		t.Errorf("requeued %d", n)
	}
	until(t, "six letters again", func() bool { s, err := q.Stats(t.Context()); check(t, err); return s.Dead == 6 && s.Rejected == 6 })
	r.wantQuiet()
}

func TestForLater(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	drain(t, q)
	soon, late, expired, expiring := call("soon"), call("late"), call("expired"), call("expiring")
	began := time.Now()
	soon.ETA = began.Add(700 * time.Millisecond)
	late.ETA = began.Add(time.Hour)
	expired.Expires = began.Add(-time.Second)
	expiring.ETA, expiring.Expires = began.Add(400*time.Millisecond), began.Add(300*time.Millisecond)
	r.send(soon, late, expired, expiring)
	r.wantFailure("expired", "TaskRevokedError", "expired")
	r.wantFailure("expiring", "TaskRevokedError", "expired")
	if got := r.result("soon"); got.Status != celery.Success || time.Since(began) < 700*time.Millisecond {
		t.Errorf("%s after %s", got.Status, time.Since(began))
	}
	s, err := q.Stats(t.Context())
	check(t, err)
	if s.Pending != 1 || s.Leased != 0 {
		t.Errorf("%+v", s)
	}
	// It is where a Python worker would find it, and not before its time.
	if score := r.c.ZScore(t.Context(), "unacked_index", r.c.HKeys(t.Context(), "unacked").Val()[0]).Val(); int64(score) != late.ETA.Unix() {
		t.Errorf("seen at %v, want %v", score, late.ETA.Unix())
	}
}

func TestPriorities(t *testing.T) {
	r := newRig(t)
	var want []string
	for _, p := range []int{9, 6, 3, 0} {
		c := call(fmt.Sprint(p))
		c.Priority = p
		r.send(c)
		want = append([]string{"event of " + c.ID}, want...)
	}
	q := open(t, r.URL(), celeryqueue.Options{})
	if diff := cmp.Diff(want, events(t, receive(t, q, 4))); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// Of a queue that is shared, what is of others stays, in its order.
func TestShared(t *testing.T) {
	r := newRig(t)
	var want, others []string
	for i := range 300 {
		c := call(fmt.Sprintf("%03d", i))
		if i%3 == 1 {
			c.Name = "app.tasks.other"
			others = append([]string{c.ID}, others...)
		} else {
			want = append(want, "event of "+c.ID)
		}
		r.send(c)
	}
	q := open(t, r.URL(), celeryqueue.Options{Group: 70})
	ds := receive(t, q, len(want))
	if diff := cmp.Diff(want, events(t, ds)); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	check(t, q.Ack(t.Context(), ds...))
	var left []string
	for _, raw := range r.c.LRange(t.Context(), "celery", 0, -1).Val() {
		task, err := new(celery.Decoder).Decode([]byte(raw))
		check(t, err)
		left = append(left, task.ID)
	}
	if diff := cmp.Diff(others, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A Python worker gets all that the replaced system's task reads, and picket's
// worker the event exactly as it was received.
func TestPublished(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	at := time.UnixMicro(1_700_000_000_123_456).UTC()
	raws := []string{
		`{"event_id":"a","agent_id":"PC1","event_type":"process","timestamp":1,"severity":"high","n":1e400}`,
		`{"winlog":{"event_data":{"Image":"C:\\x.exe"}} }`, `{ }`, `{"a":{}}`, `{"severity":"low"}`,
	}
	b := picket.Batch{ID: "batch", Received: at}
	for i, raw := range raws {
		b.Events = append(b.Events, picket.Event{ID: fmt.Sprint("id ", i), AgentID: "agent", Host: "host", Type: "kind", OS: "windows", Time: at, Received: at, Raw: []byte(raw)})
	}
	check(t, q.Enqueue(t.Context(), queue.Message{ID: b.ID, Events: len(raws), Payload: b.Encode(nil)}))
	if !r.c.SIsMember(t.Context(), r.keys.BindingKey("celery"), r.keys.BindingMember("celery", "", "celery")).Val() {
		t.Error("the queue is not bound")
	}
	for i := range raws {
		raw := r.c.LIndex(t.Context(), "celery", int64(-1-i)).Val()
		task, err := new(celery.Decoder).Decode([]byte(raw))
		check(t, err)
		arg, _ := task.Argument(0, "data")
		var data map[string]any
		d := json.NewDecoder(strings.NewReader(string(arg)))
		d.UseNumber()
		check(t, d.Decode(&data))
		for _, name := range []string{"event_id", "agent_id", "event_type", "timestamp", "severity"} {
			if data[name] == nil {
				t.Errorf("event %d without %s: %s", i, name, arg)
			}
		}
		if task.Name != known || task.RoutingKey != "celery" || !task.IgnoreResult {
			t.Errorf("task %+v", task)
		}
	}
	var got []picket.Event
	for _, d := range receive(t, q, len(raws)) {
		one, err := picket.DecodeBatch(d.Payload)
		check(t, err)
		got = append(got, one.Events...)
		check(t, q.Ack(t.Context(), d))
	}
	if diff := cmp.Diff(b.Events, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	r.wantQuiet()
}

func TestBuriedTasks(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	r.send(call("a"), call("b"))
	d := receive(t, q, 2)[0]
	b, err := picket.DecodeBatch(d.Payload)
	check(t, err)
	one := picket.Batch{ID: "letter", Received: b.Received, Events: b.Events[1:]}
	check(t, q.Bury(t.Context(), d, queue.DeadLetter{Reason: queue.Failed, Cause: "detect: no", EventID: "event of b", Events: 1, Payload: one.Encode(nil)}))
	if got := r.result("a"); got.Status != celery.Success {
		t.Errorf("a is %s", got.Status)
	}
	r.wantFailure("b", "RuntimeError", "detect: no")
	n, err := q.Requeue(t.Context())
	check(t, err)
	if n != 1 {
		t.Errorf("requeued %d", n)
	}
	if diff := cmp.Diff([]string{"event of b"}, events(t, receive(t, q, 1))); diff != "" {
		t.Errorf("requeued (-want +got):\n%s", diff)
	}
}

func TestRetried(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	r.send(call("a"))
	check(t, q.Retry(t.Context(), 50*time.Millisecond, queue.Retry{Delivery: receive(t, q, 1)[0], Cause: errors.New("store away")}))
	raw, err := r.c.Get(t.Context(), r.keys.Result("a")).Bytes()
	check(t, err)
	if got, err := celery.DecodeResult(raw); err != nil || got.Status != celery.Retry || got.Exception.String() != "RuntimeError('store away')" {
		t.Errorf("%s: %v", raw, err)
	}
	d := receive(t, q, 1)[0]
	if d.Attempt != 2 {
		t.Errorf("attempt %d", d.Attempt)
	}
	check(t, q.Ack(t.Context(), d))
	if got := r.result("a"); got.Status != celery.Success {
		t.Errorf("%s", got.Status)
	}
	r.wantQuiet()
}

// Producers may compress; a bomb is refused.
func TestCompressed(t *testing.T) {
	r := newRig(t)
	q := open(t, r.URL(), celeryqueue.Options{})
	drain(t, q)
	zlib := call("zlib")
	zlib.Compression = "zlib"
	r.send(zlib)
	packer, err := zstd.NewWriter(nil)
	check(t, err)
	send := func(id, body string) {
		c := call(id)
		c.Headers = map[string]json.RawMessage{"compression": []byte(`"application/zstd"`)}
		var envelope map[string]any
		check(t, json.Unmarshal(c.Append(nil), &envelope))
		envelope["body"] = base64.StdEncoding.EncodeToString(packer.EncodeAll([]byte(body), nil))
		envelope["headers"].(map[string]any)["compression"] = "application/zstd"
		raw, err := json.Marshal(envelope)
		check(t, err)
		check(t, r.c.LPush(t.Context(), "picket", raw).Err())
	}
	send("zstd", `[[{"event_id":"z","agent_id":"a","event_type":"process"}],{},{}]`)
	send("bomb", strings.Repeat(" ", 65<<20)+`[[],{},{}]`)
	for _, id := range []string{"zlib", "zstd"} {
		if got := r.result(id); got.Status != celery.Success {
			t.Errorf("%s is %s %s", id, got.Status, got.Exception)
		}
	}
	if got := r.result("bomb"); got.Exception == nil || got.Exception.Type != "DecodeError" {
		t.Errorf("the bomb is %s", got.Status)
	}
}
