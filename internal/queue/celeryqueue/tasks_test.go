package celeryqueue_test

import (
	"bytes"
	"compress/zlib"
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
	"github.com/picket-edr/picket/internal/queue/celeryqueue/celerytest"
	"github.com/picket-edr/picket/internal/testenv"
)

func TestResultOfTask(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	quietly := celerytest.NewEventTask("c")
	quietly.IgnoreResult = true
	group := celerytest.NewEventTask("b")
	group.GroupID, group.GroupIndex = "g", 1
	r.Publish(celerytest.NewEventTask("a"), group, quietly)
	ds := celerytest.ReceiveTasks(t, q, 3)
	if diff := cmp.Diff([]string{"event of a", "event of b", "event of c"}, celerytest.EventIDs(t, ds)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for _, d := range ds {
		on := func(id string) picket.Match {
			return picket.Match{EventID: id, EventNamespace: (&picket.Event{Sender: "celery", AgentID: "PC1"}).Namespace()}
		}
		q.ReportResult(d, []picket.Match{on("event of a"), on("event of a"), on("event of other"), {EventID: "event of a"}})
	}
	events := r.Client.Subscribe(t.Context(), r.Keys.Result("a"))
	defer events.Close()
	_, err := events.Receive(t.Context())
	testenv.Check(t, err)
	testenv.Check(t, q.Ack(t.Context(), ds...))
	const want = `{"status":"success","event_id":"event of a","event_type":"process","alerts_created":2}`
	if got := r.WaitResult("a"); got.Status != celery.Success || string(got.Value) != want {
		t.Errorf("%s %s", got.Status, got.Value)
	}
	m, err := events.ReceiveMessage(t.Context())
	testenv.Check(t, err)
	if m.Payload != r.Client.Get(t.Context(), r.Keys.Result("a")).Val() {
		t.Errorf("published %s", m.Payload)
	}
	if ttl := r.Client.TTL(t.Context(), r.Keys.Result("a")).Val(); ttl <= 23*time.Hour || ttl > 24*time.Hour {
		t.Errorf("expires in %s", ttl)
	}
	if got := r.WaitResult("b"); got.GroupID != "g" {
		t.Errorf("group %q", got.GroupID)
	}
	if r.Client.Exists(t.Context(), r.Keys.Result("c")).Val() != 0 {
		t.Error("a result that nobody wanted")
	}
	r.WantEmpty()
}

func TestSuccessStays(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("a"))
	testenv.Check(t, q.Ack(t.Context(), celerytest.ReceiveTasks(t, q, 1)...))
	first := r.Client.Get(t.Context(), r.Keys.Result("a")).Val()
	again := celerytest.NewEventTask("a") // and now it is none
	again.Args = []byte(`["text"]`)
	r.Publish(again, celerytest.NewEventTask("b"))
	testenv.Check(t, q.Ack(t.Context(), celerytest.ReceiveTasks(t, q, 1)...))
	if got := r.Client.Get(t.Context(), r.Keys.Result("a")).Val(); got != first {
		t.Errorf("from %s to %s", first, got)
	}
}

// What cannot be run fails with a class and a text, and is kept.
func TestRefused(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	celerytest.AckInBackground(t, q)
	noDict, noArgument, foreign := celerytest.NewEventTask("no dict"), celerytest.NewEventTask("no argument"), celerytest.NewEventTask("foreign")
	noDict.Args = []byte(`["text"]`)
	noArgument.Args = []byte(`[]`)
	foreign.Name, foreign.RoutingKey = "app.tasks.other", "picket"
	nothing := celerytest.NewEventTask("nothing")
	nothing.Args = []byte(`[{}]`)
	r.Publish(noDict, noArgument, foreign, nothing)
	pickled := celerytest.NewEventTask("pickled")
	testenv.Check(t, r.Client.LPush(t.Context(), "celery", strings.Replace(string(pickled.Append(nil)), "application/json", "application/x-python-serialize", 1)).Err())
	testenv.Check(t, r.Client.LPush(t.Context(), "picket", "no JSON").Err())

	r.WantFailure("no dict", "ValueError", "Invalid data. Expected a dictionary, but got str.")
	r.WantFailure("no argument", "ValueError", celerytest.TaskName+"() missing 1 required positional argument: 'data'")
	r.WantFailure("foreign", "NotRegistered", "app.tasks.other")
	r.WantFailure("nothing", "ValueError", "agent_id: This field is required.; event_id: This field is required.; event_type: This field is required.")
	if got := r.WaitResult("pickled"); got.Exception.Type != "DecodeError" || got.Exception.Module != "kombu.exceptions" || !strings.Contains(got.Exception.String(), "pickle") {
		t.Errorf("pickled is %s", got.Exception)
	}
	var deadLetters []queue.DeadLetter
	testenv.Until(t, "six letters", func() bool {
		page, err := q.DeadLetters(t.Context(), 0, 10)
		testenv.Check(t, err)
		deadLetters = page.DeadLetters
		return len(deadLetters) == 6
	})
	for _, l := range deadLetters {
		if l.Reason != queue.Rejected || l.Cause == "" || len(l.Payload) == 0 {
			t.Errorf("letter %+v", l)
		}
	}
	// Put back, they die again of the same.
	n, err := q.Requeue(t.Context())
	testenv.Check(t, err)
	if n != 6 {
		t.Errorf("requeued %d", n)
	}
	testenv.Until(t, "six letters again", func() bool {
		s, err := q.Stats(t.Context())
		testenv.Check(t, err)
		return s.Dead == 6 && s.Rejected == 12
	})
	r.WantEmpty()
}

// A task after which others are to run is refused before it runs: none of them is lost.
func TestFollowUpsRefused(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	celerytest.AckInBackground(t, q)
	for kind, embed := range map[string]string{
		"callbacks": `{"callbacks": [{"task": "app.tasks.link"}], "errbacks": null, "chain": null, "chord": null}`,
		"errbacks":  `{"callbacks": null, "errbacks": [{"task": "app.tasks.failed"}], "chain": [], "chord": null}`,
		"chain":     `{"chain":[{"task":"app.tasks.next"}]}`,
		"chord":     `{"callbacks": [], "chord": {"task": "app.tasks.all"}}`,
	} {
		c := celerytest.NewEventTask(kind)
		c.Embed = json.RawMessage(embed)
		c.ETA = time.Now().Add(time.Hour) // it is refused at once
		r.Publish(c)
		got := r.WaitResult(kind)
		if got.Exception == nil || got.Exception.Type != "NotImplementedError" || !strings.Contains(string(got.Exception.Args[0]), "the task has "+kind+";") {
			t.Errorf("%s is %s %s", kind, got.Status, got.Exception)
		}
	}
	var deadLetters []queue.DeadLetter
	testenv.Until(t, "four dead letters", func() bool {
		page, err := q.DeadLetters(t.Context(), 0, 10)
		testenv.Check(t, err)
		deadLetters = page.DeadLetters
		return len(deadLetters) == 4
	})
	for _, l := range deadLetters {
		if task, err := new(celery.Decoder).Decode(l.Payload); err != nil || len(task.FollowUps()) != 1 || !strings.Contains(l.Cause, "not supported") {
			t.Errorf("dead letter %+v: %v", l, err)
		}
	}
	// Nothing follows the last task of a chain.
	last := celerytest.NewEventTask("last")
	last.Embed = json.RawMessage(`{"callbacks": null, "errbacks": null, "chain": [], "chord": null}`)
	r.Publish(last)
	if got := r.WaitResult("last"); got.Status != celery.Success {
		t.Errorf("the last task of a chain is %s %s", got.Status, got.Exception)
	}
	r.WantEmpty()
}

func TestForLater(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	celerytest.AckInBackground(t, q)
	soon, late, expired, expiring := celerytest.NewEventTask("soon"), celerytest.NewEventTask("late"), celerytest.NewEventTask("expired"), celerytest.NewEventTask("expiring")
	began := time.Now()
	soon.ETA = began.Add(700 * time.Millisecond)
	late.ETA = began.Add(time.Hour)
	expired.Expires = began.Add(-time.Second)
	expiring.ETA, expiring.Expires = began.Add(400*time.Millisecond), began.Add(300*time.Millisecond)
	r.Publish(soon, late, expired, expiring)
	r.WantFailure("expired", "TaskRevokedError", "expired")
	r.WantFailure("expiring", "TaskRevokedError", "expired")
	if got := r.WaitResult("soon"); got.Status != celery.Success || time.Since(began) < 700*time.Millisecond {
		t.Errorf("%s after %s", got.Status, time.Since(began))
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Pending != 1 || s.Leased != 0 {
		t.Errorf("%+v", s)
	}
	// It is where a Python worker would find it, and not before its time.
	if score := r.Client.ZScore(t.Context(), "unacked_index", r.Client.HKeys(t.Context(), "unacked").Val()[0]).Val(); int64(score) != late.ETA.Unix() {
		t.Errorf("seen at %v, want %v", score, late.ETA.Unix())
	}
}

func TestPriorities(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	var want []string
	for _, p := range []int{9, 6, 3, 0} {
		c := celerytest.NewEventTask(fmt.Sprint(p))
		c.Priority = p
		r.Publish(c)
		want = append([]string{"event of " + c.ID}, want...)
	}
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	if diff := cmp.Diff(want, celerytest.EventIDs(t, celerytest.ReceiveTasks(t, q, 4))); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// Of a queue that is shared, what is of others stays, in its order.
func TestShared(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	var want, others []string
	for i := range 300 {
		c := celerytest.NewEventTask(fmt.Sprintf("%03d", i))
		if i%3 == 1 {
			c.Name = "app.tasks.other"
			others = append([]string{c.ID}, others...)
		} else {
			want = append(want, "event of "+c.ID)
		}
		r.Publish(c)
	}
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{Group: 70})
	ds := celerytest.ReceiveTasks(t, q, len(want))
	if diff := cmp.Diff(want, celerytest.EventIDs(t, ds)); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	testenv.Check(t, q.Ack(t.Context(), ds...))
	var left []string
	for _, raw := range r.Client.LRange(t.Context(), "celery", 0, -1).Val() {
		task, err := new(celery.Decoder).Decode([]byte(raw))
		testenv.Check(t, err)
		left = append(left, task.ID)
	}
	if diff := cmp.Diff(others, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A Python worker gets all fields that the legacy task reads, and picket's worker the
// event exactly as it was received.
func TestPublished(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	at := time.UnixMicro(1_700_000_000_123_456).UTC()
	raws := []string{
		`{"event_id":"a","agent_id":"PC1","event_type":"process","timestamp":1,"severity":"high","n":1e400}`,
		`{"winlog":{"event_data":{"Image":"C:\\x.exe"}} }`, `{ }`, `{"a":{}}`, `{"severity":"low"}`,
	}
	b := picket.Batch{ID: "batch", Received: at}
	for i, raw := range raws {
		b.Events = append(b.Events, picket.Event{ID: fmt.Sprint("id ", i), Sender: "collector:c", Index: fmt.Sprint("index ", i), AgentID: "agent", Host: "host", Type: "kind", OS: "windows", Time: at, Received: at, Raw: []byte(raw)})
	}
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: b.ID, Events: len(raws), Payload: b.Encode(nil)}))
	if !r.Client.SIsMember(t.Context(), r.Keys.BindingKey("celery"), celery.BindingMember("celery", "celery")).Val() {
		t.Error("the queue is not bound")
	}
	for i := range raws {
		raw := r.Client.LIndex(t.Context(), "celery", int64(-1-i)).Val()
		task, err := new(celery.Decoder).Decode([]byte(raw))
		testenv.Check(t, err)
		arg, _ := task.Argument(0, "data")
		var data map[string]any
		d := json.NewDecoder(strings.NewReader(string(arg)))
		d.UseNumber()
		testenv.Check(t, d.Decode(&data))
		for _, name := range []string{"event_id", "agent_id", "event_type", "timestamp", "severity"} {
			if data[name] == nil {
				t.Errorf("event %d without %s: %s", i, name, arg)
			}
		}
		if task.Name != celerytest.TaskName || task.RoutingKey != "celery" || !task.IgnoreResult {
			t.Errorf("task %+v", task)
		}
	}
	var got []picket.Event
	for _, d := range celerytest.ReceiveTasks(t, q, len(raws)) {
		one, err := picket.DecodeBatch(d.Payload)
		testenv.Check(t, err)
		got = append(got, one.Events...)
		testenv.Check(t, q.Ack(t.Context(), d))
	}
	if diff := cmp.Diff(b.Events, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	r.WantEmpty()
}

// Two tasks have events with the same id: only the one whose event is dead-lettered
// fails.
func TestBuriedTaskOfSameID(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	a, b := celerytest.NewEventTask("a"), celerytest.NewEventTask("b")
	b.Args = []byte(strings.NewReplacer("event of b", "event of a", "PC1", "PC2").Replace(string(b.Args)))
	r.Publish(a, b)
	d := celerytest.ReceiveTasks(t, q, 2)[0]
	batch, err := picket.DecodeBatch(d.Payload)
	testenv.Check(t, err)
	bad := batch.Events[1]
	one := picket.Batch{ID: "letter", Received: batch.Received, Events: []picket.Event{bad}}
	testenv.Check(t, q.Bury(t.Context(), d, queue.DeadLetter{Reason: queue.Failed, Cause: "detect: no", AgentID: bad.AgentID, EventID: bad.ID, Events: 1, Payload: one.Encode(nil)}))
	good, failed := "a", "b"
	if bad.AgentID == "PC1" {
		good, failed = failed, good
	}
	if got := r.WaitResult(good); got.Status != celery.Success {
		t.Errorf("%s is %s", good, got.Status)
	}
	r.WantFailure(failed, "RuntimeError", "detect: no")
}

func TestBuriedTasks(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("a"), celerytest.NewEventTask("b"))
	d := celerytest.ReceiveTasks(t, q, 2)[0]
	b, err := picket.DecodeBatch(d.Payload)
	testenv.Check(t, err)
	one := picket.Batch{ID: "letter", Received: b.Received, Events: b.Events[1:]}
	testenv.Check(t, q.Bury(t.Context(), d, queue.DeadLetter{Reason: queue.Failed, Cause: "detect: no", EventID: "event of b", Events: 1, Payload: one.Encode(nil)}))
	if got := r.WaitResult("a"); got.Status != celery.Success {
		t.Errorf("a is %s", got.Status)
	}
	r.WantFailure("b", "RuntimeError", "detect: no")
	n, err := q.Requeue(t.Context())
	testenv.Check(t, err)
	if n != 1 {
		t.Errorf("requeued %d", n)
	}
	if diff := cmp.Diff([]string{"event of b"}, celerytest.EventIDs(t, celerytest.ReceiveTasks(t, q, 1))); diff != "" {
		t.Errorf("requeued (-want +got):\n%s", diff)
	}
}

func TestRetried(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	r.Publish(celerytest.NewEventTask("a"))
	testenv.Check(t, q.Retry(t.Context(), 50*time.Millisecond, queue.Retry{Delivery: celerytest.ReceiveTasks(t, q, 1)[0], Cause: errors.New("store away")}))
	raw, err := r.Client.Get(t.Context(), r.Keys.Result("a")).Bytes()
	testenv.Check(t, err)
	if got := celerytest.DecodeResult(t, raw); got.Status != celery.Retry || got.Exception.String() != "RuntimeError('store away')" {
		t.Errorf("%s", raw)
	}
	d := celerytest.ReceiveTasks(t, q, 1)[0]
	if d.Attempt != 2 {
		t.Errorf("attempt %d", d.Attempt)
	}
	testenv.Check(t, q.Ack(t.Context(), d))
	if got := r.WaitResult("a"); got.Status != celery.Success {
		t.Errorf("%s", got.Status)
	}
	r.WantEmpty()
}

// Producers may compress; a bomb is refused.
func TestCompressed(t *testing.T) {
	t.Parallel()
	r := celerytest.StartBroker(t)
	q := celerytest.Open(t, r.URL(), celeryqueue.Options{})
	celerytest.AckInBackground(t, q)
	send := func(id, compression string, body []byte) {
		c := celerytest.NewEventTask(id)
		c.Headers = map[string]json.RawMessage{"compression": fmt.Appendf(nil, "%q", compression)}
		var envelope map[string]any
		testenv.Check(t, json.Unmarshal(c.Append(nil), &envelope))
		envelope["body"] = base64.StdEncoding.EncodeToString(body)
		raw, err := json.Marshal(envelope)
		testenv.Check(t, err)
		testenv.Check(t, r.Client.LPush(t.Context(), "picket", raw).Err())
	}
	const body = `[[{"event_id":"z","agent_id":"a","event_type":"process"}],{},{}]`
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	fmt.Fprint(w, body)
	testenv.Check(t, w.Close())
	send("zlib", "application/x-gzip", packed.Bytes())
	packer, err := zstd.NewWriter(nil)
	testenv.Check(t, err)
	send("zstd", "application/zstd", packer.EncodeAll([]byte(body), nil))
	send("bomb", "application/zstd", packer.EncodeAll([]byte(strings.Repeat(" ", 65<<20)+body), nil))
	for _, id := range []string{"zlib", "zstd"} {
		if got := r.WaitResult(id); got.Status != celery.Success {
			t.Errorf("%s is %s %s", id, got.Status, got.Exception)
		}
	}
	if got := r.WaitResult("bomb"); got.Exception == nil || got.Exception.Type != "DecodeError" {
		t.Errorf("the bomb is %s", got.Status)
	}
}
