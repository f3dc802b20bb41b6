package celery_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

// captured is the value of a Redis list, byte for byte as Celery pushed it.
func captured(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/captured_task.json")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b)
}

func TestDecodeCaptured(t *testing.T) {
	got, err := new(celery.Decoder).Decode(captured(t))
	if err != nil {
		t.Fatal(err)
	}
	const id = "89105af8-f2a1-4c11-b233-23160e984f02"
	want := &celery.Task{
		ID: id, Name: "telemetry.telemetry_ingest", GroupIndex: -1,
		Args: json.RawMessage(`[{"event_id": "e-1", "agent": "a1"}]`), Kwargs: json.RawMessage(`{}`),
		ArgsRepr: "({'event_id': 'e-1', 'agent': 'a1'},)", KwargsRepr: "{}", Origin: "gen25881@vm",
		RootID: id, CorrelationID: id, ReplyTo: "8efac453-7f67-37ca-942f-692449f7a96b",
		RoutingKey: "celery", DeliveryTag: "c3a10f00-2bba-4589-8451-cc1f78d536bb",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAppendCaptured makes the captured task from its arguments and their reprs,
// byte for byte.
func TestAppendCaptured(t *testing.T) {
	task := celery.Task{
		ID: "89105af8-f2a1-4c11-b233-23160e984f02", Name: "telemetry.telemetry_ingest",
		Args: json.RawMessage(`[{"event_id": "e-1", "agent": "a1"}]`), Origin: "gen25881@vm",
		ReplyTo: "8efac453-7f67-37ca-942f-692449f7a96b", RoutingKey: "celery", DeliveryTag: "c3a10f00-2bba-4589-8451-cc1f78d536bb",
		ArgsRepr: "({'event_id': 'e-1', 'agent': 'a1'},)", KwargsRepr: "{}",
	}
	if diff := cmp.Diff(string(captured(t)), string(task.Append(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAppendMakesIDs(t *testing.T) {
	uuid4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	task := celery.Task{Name: "t.echo"}
	a, b := decode(t, string(task.Append(nil))), decode(t, string(task.Append(nil)))
	if !uuid4.MatchString(a.ID) || a.RootID != a.ID || a.CorrelationID != a.ID || !uuid4.MatchString(a.DeliveryTag) {
		t.Errorf("IDs %+v", a)
	}
	if a.ID == b.ID || a.DeliveryTag == b.DeliveryTag || a.ID == a.DeliveryTag {
		t.Errorf("the IDs of two messages: %+v, %+v", a, b)
	}
	if a.GroupIndex != -1 || string(a.Args) != "[]" || string(a.Kwargs) != "{}" || a.Embed != nil {
		t.Errorf("got %+v", a)
	}
}

// TestAppendAll sends a task that has everything, and finds it all.
func TestAppendAll(t *testing.T) {
	at := time.Date(2031, 5, 4, 3, 2, 1, 123456000, time.UTC)
	want := celery.Task{
		ID: "t-1", Name: "t.écho\n", Shadow: "echo", Args: json.RawMessage(`[NaN]`), Kwargs: json.RawMessage(`{"a": 1}`),
		Embed: json.RawMessage(`{"chain": [{"task": "t.add", "kwargs": {"y": NaN}}], "callbacks": null, "errbacks": [], "chord": {"task": "t.all"}, "more": 1}`),
		ETA:   at, Expires: at.Add(time.Hour), Retries: 2,
		RootID: "r-1", ParentID: "p-1", GroupID: "g-1", GroupIndex: 3, IgnoreResult: true,
		ArgsRepr: "(...)", KwargsRepr: "{...}", Origin: "me", ReplyTo: "you", CorrelationID: "c-1",
		Priority: 9, Exchange: "x", RoutingKey: "k", DeliveryTag: "d-1",
		Headers: map[string]json.RawMessage{
			"tenant": json.RawMessage(`"acme"`), "stamped_headers": json.RawMessage(`["tenant"]`), "replaced_task_nesting": json.RawMessage("1"),
			"timelimit": json.RawMessage("[3, 1.5]"),
		},
	}
	got := decode(t, string(want.Append(nil)))
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"chain", "chord"}, got.FollowUps()); diff != "" {
		t.Errorf("follow-ups (-want +got):\n%s", diff)
	}
}

// enveloped is an envelope with a given body, and edited.
func enveloped(body string, edit ...string) string {
	e := `{"body": "BODY", "content-encoding": "utf-8", "content-type": "application/json",` +
		` "headers": {"task": "t.echo", "id": "t-1", "group": "g-1"}, "properties": {"body_encoding": "base64", "delivery_tag": "d-1"}}`
	e = strings.NewReplacer(edit...).Replace(e)
	return strings.Replace(e, "BODY", base64.StdEncoding.EncodeToString([]byte(body)), 1)
}

func TestDecodeTolerates(t *testing.T) {
	const body = `[[1, NaN], {"k": -Infinity}, {"callbacks": null, "future": [1]}]`
	for _, test := range []struct{ name, envelope string }{
		{"few headers", enveloped(body)},
		{"space", " \n" + strings.ReplaceAll(enveloped(" "+body+"\r\n"), ", ", "\t,\n ") + " "},
		{"plain text", strings.Replace(enveloped("", `"body_encoding": "base64"`, `"body_encoding": "utf-8"`, "BODY", ""),
			`"body": ""`, `"body": `+quoted(body), 1)},
		{"no body_encoding", strings.Replace(enveloped("", `"body_encoding": "base64", `, "", "BODY", ""), `"body": ""`, `"body": `+quoted(body), 1)},
		{"no content type", enveloped(body, `"content-encoding": "utf-8", "content-type": "application/json",`, "")},
		{"upper case", enveloped(body, "application/json", "Application/JSON", `"utf-8"`, `"UTF-8"`)},
		{"properties first", `{"properties": {"body_encoding": "base64"}, "headers": {"id": "t-1", "task": "t.echo"}, "body": "` +
			base64.StdEncoding.EncodeToString([]byte(body)) + `"}`},
		{"escaped", enveloped(body, `"body"`, `"\u0062ody"`, "t.echo", `\u0074.echo`)},
		{"no embed", enveloped(`[[1, NaN], {"k": -Infinity}]`)},
		{"nulls", enveloped(body, `"group": "g-1"`, `"group": null, "retries": null, "timelimit": null, "eta": null, "group_index": null, "ignore_result": null`,
			`"delivery_tag": "d-1"`, `"delivery_info": null, "priority": null, "reply_to": null`)},
		{"wrong types", enveloped(body, `"group": "g-1"`, `"shadow": 7, "retries": "x", "timelimit": 5, "argsrepr": ["a"]`,
			`"delivery_tag": "d-1"`, `"delivery_tag": 5, "priority": 1e99`)},
		{"gzip", enveloped(gzipped(body), `"group": "g-1"`, `"compression": "application/x-gzip"`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			task := decode(t, test.envelope)
			if task.Name != "t.echo" || task.ID != "t-1" || string(task.Args) != "[1, NaN]" || string(task.Kwargs) != `{"k": -Infinity}` {
				t.Errorf("got %+v", task)
			}
		})
	}
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprint(w, s)
	w.Close()
	return b.String()
}

func TestDecodeRefuses(t *testing.T) {
	const body = `[[1], {}, {}]`
	deep := strings.Repeat("[", 1500) + strings.Repeat("]", 1500)
	packed := func(name string) string { return `"compression": "` + name + `"` }
	for _, test := range []struct {
		name, envelope, what, hint string
		headers                    bool // could be read
	}{
		{"empty", "", "isn't an envelope", "only Celery", false},
		{"not JSON", "{", "not JSON at byte 1", "", false},
		{"array", "[]", "not a JSON object", "", false},
		{"trailing", enveloped(body) + "}", "not JSON", "", false},
		{"no body", `{"headers": {}}`, "has no body", "", false},
		{"body of an object", `{"body": {}, "headers": {}}`, "has no body", "", false},
		{"not UTF-8", enveloped(body, "t.echo", "t.\xff"), "not UTF-8", "", false},
		{"no task", enveloped(body, `"task": "t.echo", `, ""), "isn't a task of protocol 2: its headers name none", "task_protocol = 2", false},
		{"headers of null", enveloped(body, `{"task": "t.echo", "id": "t-1", "group": "g-1"}`, "null"), "isn't a task", "", false},
		{"pickle", enveloped(body, "application/json", "application/x-python-serialize", `"utf-8"`, `"binary"`), "is pickle: only JSON", "task_serializer = 'json'", true},
		{"YAML", enveloped(body, "application/json", "application/x-yaml"), "is YAML", "task_serializer", true},
		{"msgpack", enveloped(body, "application/json", "application/x-msgpack"), "is msgpack", "task_serializer", true},
		{"text", enveloped(body, "application/json", "text/plain"), "is raw text", "task_serializer", true},
		{"unknown type", enveloped(body, "application/json", "application/x-own"), `content type "application/x-own"`, "task_serializer", true},
		{"UTF-16", enveloped(body, `"utf-8"`, `"utf-16"`), `encoding is "utf-16"`, "task_serializer", true},
		{"body encoding", enveloped(body, `"base64"`, `"hex"`), `body encoding is "hex"`, "", true},
		{"bad base64", strings.Replace(enveloped(body), `"body": "W`, `"body": "*`, 1), "bad base64", "cut or changed", true},
		{"cut base64", strings.Replace(enveloped(body), `"body": "W1sx`, `"body": "W1s`, 1), "bad base64", "", true},
		{"body not JSON", enveloped("x"), "body is bad", "", true},
		{"body not UTF-8", enveloped("[[\"\xff\"], {}, {}]"), "not UTF-8", "", true},
		{"body of an object", enveloped("{}"), "not a JSON array", "", true},
		{"args of an object", enveloped("[{}, {}, {}]"), "isn't [args, kwargs, embed]", "", true},
		{"kwargs of an array", enveloped("[[], [], {}]"), "isn't [args, kwargs, embed]", "", true},
		{"short", enveloped("[[]]"), "isn't [args, kwargs, embed]", "", true},
		{"long", enveloped("[[], {}, {}, {}]"), "isn't [args, kwargs, embed]", "", true},
		{"deep", enveloped("[" + deep + ", {}, {}]"), "not JSON", "", true},
		{"large", enveloped("[[" + strings.Repeat("1,", 3000) + "1], {}, {}]"), "larger than 4096 bytes", "send less", true},
		{"large text", strings.Replace(enveloped("", `"base64"`, `"utf-8"`), `"body": ""`, `"body": "`+strings.Repeat("x", 5000)+`"`, 1), "larger than 4096", "", true},
		{"bomb", enveloped(gzipped("[["+strings.Repeat("1,", 1<<20)+"1], {}, {}]"), `"group": "g-1"`, packed("application/x-gzip")), "larger than 4096 bytes", "", true},
		{"bad gzip", enveloped("\x1f\x8bxxx", `"group": "g-1"`, packed("application/x-gzip")), "bad application/x-gzip", "cut or changed", true},
		{"bad zlib", enveloped("xxx", `"group": "g-1"`, packed("application/x-gzip")), "bad application/x-gzip", "", true},
		{"bad bzip2", enveloped("xxx", `"group": "g-1"`, packed("application/x-bz2")), "bad application/x-bz2", "", true},
		{"zstd", enveloped(body, `"group": "g-1"`, packed("application/zstd")), `compressed as "application/zstd"`, "task_compression = 'zlib'", true},
		{"own", enveloped(body, `"group": "g-1"`, packed("own")), "own of the test", "", true},
		{"own, too large", enveloped(body, `"group": "g-1"`, packed("huge")), "larger than 4096 bytes", "", true},
		{"eta", enveloped(body, `"group": "g-1"`, `"eta": "tomorrow"`), `headers are bad: eta: "tomorrow" is no ISO 8601 time`, "", true},
		{"expires", enveloped(body, `"group": "g-1"`, `"expires": 600`), "expires", "", true},
		{"properties", enveloped(body, `{"body_encoding": "base64", "delivery_tag": "d-1"}`, "7"), "not a JSON object", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := celery.Decoder{MaxBody: 4096, Decompress: map[string]func([]byte) (io.ReadCloser, error){
				"own":  func([]byte) (io.ReadCloser, error) { return nil, errors.New("own of the test") },
				"huge": func([]byte) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(make([]byte, 5000))), nil },
			}}
			task, err := d.Decode([]byte(test.envelope))
			var refused *celery.DecodeError
			if !errors.As(err, &refused) {
				t.Fatalf("got %+v, %v", task, err)
			}
			if !strings.Contains(err.Error(), test.what) || !strings.Contains(refused.Hint, test.hint) || strings.Contains(refused.Reason+refused.Hint, "\n") {
				t.Errorf("refused with %q, hint %q", refused.Reason, refused.Hint)
			}
			if got := task != nil && task.ID == "t-1" && task.Name == "t.echo"; got != test.headers {
				t.Errorf("the task: %+v", task)
			}
		})
	}
}

func TestDecompress(t *testing.T) {
	d := celery.Decoder{Decompress: map[string]func([]byte) (io.ReadCloser, error){
		"application/zstd": func(src []byte) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(bytes.ToLower(src))), nil },
	}}
	task, err := d.Decode([]byte(enveloped(`[["A"], {}, {}]`, `"group": "g-1"`, `"compression": "application/zstd"`)))
	if err != nil || string(task.Args) != `["a"]` {
		t.Errorf("got %+v, %v", task, err)
	}
}

func TestTimes(t *testing.T) {
	want := time.Date(2026, 11, 23, 20, 20, 8, 0, time.UTC)
	for eta, fraction := range map[string]time.Duration{
		"2026-11-23T20:20:08": 0, "2026-11-23T20:20:08.615712": 615712 * time.Microsecond, "2026-11-23T20:20:08.615712+00:00": 615712 * time.Microsecond,
		"2026-11-23T20:20:08Z": 0, "2026-11-23T21:20:08+01:00": 0, "2026-11-24T01:50:08+0530": 0, "2026-11-23 20:20:08.5": 500 * time.Millisecond,
		"2026-11-23T20:20:08.123456789Z": 123456789, "2026-11-23T12:20:08.1-08:00": 100 * time.Millisecond,
	} {
		task := decode(t, enveloped("[[], {}, {}]", `"group": "g-1"`, `"eta": "`+eta+`", "expires": "`+eta+`"`))
		if !task.ETA.Equal(want.Add(fraction)) || !task.Expires.Equal(task.ETA) {
			t.Errorf("%s: %v", eta, task.ETA)
		}
	}
}

func TestArgument(t *testing.T) {
	task := celery.Task{Args: json.RawMessage(`[1, {"a": "b"}]`), Kwargs: json.RawMessage(`{"x": NaN, "y": null}`)}
	for _, test := range []struct {
		position   int
		name, want string
	}{
		{0, "x", "1"}, {1, "", `{"a": "b"}`}, {2, "x", "NaN"}, {-1, "x", "NaN"}, {9, "y", "null"}, {2, "z", ""},
	} {
		got, ok := task.Argument(test.position, test.name)
		if string(got) != test.want || ok != (test.want != "") {
			t.Errorf("Argument(%d, %q) = %s, %t", test.position, test.name, got, ok)
		}
	}
	if _, ok := new(celery.Task).Argument(0, "x"); ok {
		t.Error("an argument of a task that has none")
	}
}

func TestClock(t *testing.T) {
	var c celery.Clock
	got := []int64{c.Tick(), c.Adjust(10), c.Adjust(3), c.Tick(), c.Now()}
	if diff := cmp.Diff([]int64{1, 11, 12, 13, 13}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
