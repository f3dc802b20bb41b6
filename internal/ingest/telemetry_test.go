package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// required is the legacy system's error for an empty event.
const required = `{"agent_id":["This field is required."],"event_id":["This field is required."],"event_type":["This field is required."],` +
	`"severity":["This field is required."],"version":["This field is required."],"host":["This field is required."]}`

// invalid is the start of the answer to invalid events, which is the legacy system's.
func invalid(errors string) string {
	return `{"status":"error","message":"Validation failed","errors":` + errors + `,"error":"`
}

// sameAnswer reports whether an answer is want: of an error, with the same text as "error"
// in addition; of invalid events, with more after it.
func sameAnswer(got, want string) bool {
	if detail, ok := strings.CutPrefix(want, `{"detail":`); ok {
		want = strings.TrimSuffix(want, "}") + `,"error":` + detail
	}
	return got == want || strings.HasPrefix(want, `{"status":"error",`) && strings.HasPrefix(got, want)
}

// The answers are those of Django REST framework, byte for byte, where the
// legacy system's contract says something of the case.
func TestTelemetryResponses(t *testing.T) {
	accepted := func(n int, rest string) string {
		return fmt.Sprintf(`{"status":"accepted","message":"Queued %d events for processing","batch_size":%d,"failed":0%s}`, n, n, rest)
	}
	one := accepted(1, `,"event_id":"e1"`)
	cases := []struct {
		name, body string
		status     int
		want       string
	}{
		{"single", native, 201, one},
		{"single with a newline", native + "\n", 201, one},
		{"array", "[" + native + "," + nativeWith(`"event_id":"e2"`) + "]", 201, accepted(2, "")},
		{"array of one", "[" + native + "]", 201, accepted(1, "")},
		{"empty array", "[]", 201, accepted(0, "")},
		{"lines", native + "\n" + nativeWith(`"event_id":"e2"`) + "\n", 201, accepted(2, "")},
		{"unknown key", nativeWith(`"extra":1`), 201, one},
		{"no timestamp", strings.Replace(native, `"timestamp":1700000000,`, "", 1), 201, one},
		{"timestamp as text", nativeWith(`"timestamp":"1700000000"`), 201, one},
		{"timestamp in ISO 8601", nativeWith(`"timestamp":"2026-01-02T03:04:05Z"`), 201, one},
		{"timestamp of another millennium", nativeWith(`"timestamp":` + strings.Repeat("9", 30)), 201, one},
		{"timestamp out of range", nativeWith(`"timestamp":1e999`), 400, invalid(`{"non_field_errors":["not acceptable JSON: number out of range at byte 229"]}`)},
		{"number as id", nativeWith(`"event_id":5`), 201, accepted(1, `,"event_id":"5"`)},

		{"nothing in it", `{"event_type":"process"}`, 400, invalid(strings.Replace(required, `"event_type":["This field is required."],`, "", 1))},
		{"empty object", `{}`, 400, invalid(required)},
		{"blank", nativeWith(`"agent_id":""`), 400, invalid(`{"agent_id":["This field may not be blank."]}`)},
		{"spaces", nativeWith(`"severity":"  "`), 400, invalid(`{"severity":["This field may not be blank."]}`)},
		{"null", nativeWith(`"agent_id":null`), 400, invalid(`{"agent_id":["This field may not be null."]}`)},
		{"bool", nativeWith(`"severity":false`), 400, invalid(`{"severity":["Not a valid string."]}`)},
		{"object for text", nativeWith(`"version":{"a":1}`), 400, invalid(`{"version":["Not a valid string."]}`)},
		{"array for text", nativeWith(`"version":["a"]`), 400, invalid(`{"version":["Not a valid string."]}`)},
		{"separator of keys in an id", nativeWith(`"event_id":"a\u001fb"`), 400, invalid(`{"event_id":["The character U+001F is not allowed."]}`)},
		{"zero byte in an id", nativeWith(`"event_id":"a\u0000b"`), 400, invalid(`{"event_id":["Null characters are not allowed."]}`)},
		{"zero byte in a text", nativeWith(`"severity":"a\u0000b"`), 400, invalid(`{"severity":["Null characters are not allowed."]}`)},
		{"unknown type", nativeWith(`"event_type":"registry"`), 400, invalid(`{"event_type":["\"registry\" is not a valid choice."]}`)},
		{"type with quotes", nativeWith(`"event_type":"r\"é<b>"`), 400, invalid(`{"event_type":["\"r\"é<b>\" is not a valid choice."]}`)},
		{"type is a number", nativeWith(`"event_type":5`), 400, invalid(`{"event_type":["\"5\" is not a valid choice."]}`)},
		{"type is a bool", nativeWith(`"event_type":true`), 400, invalid(`{"event_type":["\"True\" is not a valid choice."]}`)},
		{"type is null", nativeWith(`"event_type":null`), 400, invalid(`{"event_type":["This field may not be null."]}`)},
		{"timestamp is a word", nativeWith(`"timestamp":"x"`), 400, invalid(`{"timestamp":["A valid integer is required."]}`)},
		{"timestamp is empty", nativeWith(`"timestamp":""`), 400, invalid(`{"timestamp":["A valid integer is required."]}`)},
		{"timestamp is a bool", nativeWith(`"timestamp":true`), 400, invalid(`{"timestamp":["A valid integer is required."]}`)},
		{"timestamp is null", nativeWith(`"timestamp":null`), 400, invalid(`{"timestamp":["This field may not be null."]}`)},
		{"host is a number", nativeWith(`"host":5`), 400, invalid(`{"host":["Expected a dictionary of items but got type \"int\"."]}`)},
		{"host is a fraction", nativeWith(`"host":1.5`), 400, invalid(`{"host":["Expected a dictionary of items but got type \"float\"."]}`)},
		{"host is a text", nativeWith(`"host":"x"`), 400, invalid(`{"host":["Expected a dictionary of items but got type \"str\"."]}`)},
		{"host is a list", nativeWith(`"host":[1]`), 400, invalid(`{"host":["Expected a dictionary of items but got type \"list\"."]}`)},
		{"process is null", nativeWith(`"process":null`), 400, invalid(`{"process":["This field may not be null."]}`)},
		{"no file", nativeWith(`"event_type":"file"`), 400, invalid(`{"non_field_errors":["file event requires 'file' field"]}`)},
		{"all bad", `[{},5,"x",[],true,1.5]`, 400, invalid(`[` + required + `,` + dict("int") + `,` + dict("str") + `,` + dict("list") + `,` + dict("bool") + `,` + dict("float") + `]`)},

		{"truncated", native[:40], 400, `{"detail":"JSON parse error - the body ends early, at byte 40"}`},
		{"truncated array", "[" + native, 400, fmt.Sprintf(`{"detail":"JSON parse error - the body ends early, at byte %d"}`, len(native)+1)},
		{"broken", `{"a":}`, 400, `{"detail":"JSON parse error - expected a value at byte 5"}`},
		{"no JSON", `hello`, 400, `{"detail":"JSON parse error - expected an object or an array at byte 0"}`},
		{"empty", ``, 400, `{"detail":"JSON parse error - the body is empty"}`},
		{"zero bytes", "\x00\x00", 400, `{"detail":"JSON parse error - expected an object or an array at byte 0"}`},
	}
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for _, c := range cases {
		w := r.post(r.agent, c.body)
		if w.Code != c.status || !sameAnswer(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s\n want %d %s", c.name, w.Code, w.Body, c.status, c.want)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: Content-Type %q", c.name, got)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no X-Content-Type-Options", c.name)
		}
	}
}

func dict(got string) string {
	return `{"non_field_errors":["Invalid data. Expected a dictionary, but got ` + got + `."]}`
}

func TestTelemetryErrors(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{MaxBodyBytes: 1 << 20, MaxDecodedBytes: 2 << 20, MaxEvents: 10, MaxEventBytes: 200 << 10})
	json := []string{"Content-Type", "application/json"}
	token := append([]string{"Authorization", "Token " + r.agent}, json...)
	cases := []struct {
		name, method, body string
		headers            []string
		status             int
		want, header       string // header as Name: value
	}{
		{"no token", "POST", native, json, 401, `{"detail":"Authentication credentials were not provided."}`, "Www-Authenticate: Token"},
		{"wrong token", "POST", native, append([]string{"Authorization", "Token " + strings.Repeat("0", 40)}, json...), 401, `{"detail":"Invalid token."}`, "Www-Authenticate: Token"},
		{"empty token", "POST", native, append([]string{"Authorization", "Token"}, json...), 401, `{"detail":"Invalid token header. No credentials provided."}`, "Www-Authenticate: Token"},
		{"two tokens", "POST", native, append([]string{"Authorization", "Token a b"}, json...), 401, `{"detail":"Invalid token header. Token string should not contain spaces."}`, "Www-Authenticate: Token"},
		{"other scheme", "POST", native, append([]string{"Authorization", "Digest x"}, json...), 401, `{"detail":"Authentication credentials were not provided."}`, "Www-Authenticate: Token"},
		{"API token", "POST", native, append([]string{"Authorization", "Token " + r.api}, json...), 403, `{"detail":"a token of kind api cannot send events; this needs one of kind agent or collector"}`, ""},
		{"Bearer", "POST", native, append([]string{"Authorization", "Bearer " + r.agent}, json...), 201, "", ""},
		{"get", "GET", "", token, 405, `{"detail":"Method \"GET\" not allowed."}`, "Allow: POST, OPTIONS"},
		{"delete", "DELETE", "", token, 405, `{"detail":"Method \"DELETE\" not allowed."}`, "Allow: POST, OPTIONS"},
		{"get without token", "GET", "", nil, 401, `{"detail":"Authentication credentials were not provided."}`, ""},
		{"media type", "POST", native, []string{"Authorization", "Token " + r.agent, "Content-Type", "text/plain"}, 415, `{"detail":"Unsupported media type \"text/plain\" in request. Send application/json or application/x-ndjson."}`, ""},
		{"no media type", "POST", native, []string{"Authorization", "Token " + r.agent}, 201, "", ""},
		{"charset", "POST", native, []string{"Authorization", "Token " + r.agent, "Content-Type", "application/json; charset=utf-8"}, 201, "", ""},
		{"encoding", "POST", native, append([]string{"Content-Encoding", "br"}, token...), 415, `{"detail":"Content-Encoding \"br\" is not supported; use gzip or zstd"}`, ""},
		{"no gzip", "POST", native, append([]string{"Content-Encoding", "gzip"}, token...), 400, `{"detail":"read body: it is not gzip, as Content-Encoding says: gzip: invalid header"}`, ""},
		{"no zstd", "POST", native, append([]string{"Content-Encoding", "zstd"}, token...), 400, `{"detail":"read body: invalid input: magic number mismatch"}`, ""},
		{"large event", "POST", nativeWith(`"x":"` + strings.Repeat("x", 300<<10) + `"`), token, 413, invalid(`{"non_field_errors":["the event has 307419 bytes, more than the 204800 that are accepted (--max-event); only its start is kept"]}`), ""},
		{"many events", "POST", "[" + strings.Repeat(native+",", 10) + native + "]", token, 413, `{"detail":"more than 10 events in a request"}`, ""},
		{"many lines", "POST", strings.Repeat(native+"\n", 11), token, 413, `{"detail":"more than 10 events in a request"}`, ""},
		{"large body", "POST", "[" + strings.Repeat(nativeWith(`"x":"`+strings.Repeat("x", 190<<10)+`"`)+",", 8), token, 413, `{"detail":"body is larger than 1048576 bytes as sent"}`, ""},
		{"large decompressed", "POST", gzipped(t, "["+strings.Repeat(nativeWith(`"x":"`+strings.Repeat("x", 199<<10)+`"`)+strings.Repeat(" ", 100<<10)+",", 9)), append([]string{"Content-Encoding", "gzip"}, token...), 413, `{"detail":"body is larger than 2097152 bytes decompressed"}`, ""},
	}
	for _, c := range cases {
		w := r.do(c.method, "/api/v1/telemetry/", strings.NewReader(c.body), c.headers...)
		if w.Code != c.status || c.want != "" && !sameAnswer(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s\n want %d %s", c.name, w.Code, w.Body, c.status, c.want)
		}
		if name, value, ok := strings.Cut(c.header, ": "); ok && w.Header().Get(name) != value {
			t.Errorf("%s: %s is %q, want %q", c.name, name, w.Header().Get(name), value)
		}
	}
	for _, path := range []string{"/api/v1/telemetry", "/telemetry", "/telemetry/"} {
		if w := r.do("POST", path, strings.NewReader(native), token...); w.Code != 201 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// gzipped is s in gzip.
func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	testenv.Check(t, z.Close())
	return b.String()
}

// Invalid events of a batch are listed in the response, and become dead deadLetters
// that can be requeued.
func TestPartlyInvalidBatch(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	bad := `{"event_type":"process","agent_id":"PC1","event_id":"bad"}`
	w := r.post(r.agent, "["+native+","+bad+","+nativeWith(`"event_id":"e2"`)+"]")
	reason := `severity: This field is required.; version: This field is required.; host: This field is required.`
	want := `{"status":"accepted","message":"Queued 2 events for processing","batch_size":3,"failed":1,"errors":[{"index":1,"event_id":"bad","reason":"` + reason +
		`","errors":{"severity":["This field is required."],"version":["This field is required."],"host":["This field is required."]}}]}`
	if w.Code != http.StatusCreated || w.Body.String() != want {
		t.Fatalf("%d %s\n want %s", w.Code, w.Body, want)
	}
	// A line that is no JSON is one bad event; all bad is still 400.
	if w := r.post(r.agent, nativeWith(`"event_id":"e3"`)+"\n{\"a\":\n"); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"failed":1,"errors":[{"index":1,`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.post(r.agent, "["+bad+"]"); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}

	ctx := context.Background()
	page, err := r.queue.DeadLetters(ctx, 0, 10)
	deadLetters := page.DeadLetters
	testenv.Check(t, err)
	if len(deadLetters) != 3 || deadLetters[2].EventID != "bad" || deadLetters[2].AgentID != "PC1" || deadLetters[2].Cause != reason {
		t.Fatalf("dead letters: %+v", deadLetters)
	}
	st, err := r.queue.Stats(ctx)
	testenv.Check(t, err)
	if st.Accepted != 3 || st.Rejected != 3 {
		t.Errorf("accepted %d, rejected %d", st.Accepted, st.Rejected)
	}
	r.takeAll(t)
	if n, err := r.queue.Requeue(ctx, deadLetters[2].ID); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if events := r.takeAll(t); len(events) != 1 || string(events[0].Raw) != bad {
		t.Errorf("put back: %+v", events)
	}
}

// Equal bytes get equal ids, and equal events in one request get different ones.
func TestContentIDs(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	const event = `{"event_type":"dns_query","host":"h","QueryName":"a.example"}`
	ids := func(token, body string) (ids []string) {
		if w := r.post(token, body); w.Code != http.StatusCreated {
			t.Fatal(w.Code, w.Body)
		}
		for _, ev := range r.takeAll(t) {
			ids = append(ids, ev.ID)
		}
		return ids
	}
	first := ids(r.agent, "["+event+","+event+"]")
	if first[0] == first[1] {
		t.Error("two events have one id")
	}
	if diff := cmp.Diff(first, ids(r.agent, "["+event+","+event+"]")); diff != "" {
		t.Error("a retry changed the ids", diff)
	}
	if diff := cmp.Diff(first, ids(r.agent, event+"\n"+event)); diff != "" {
		t.Error("the form changed the ids", diff)
	}
	if other := ids(r.collector, event); other[0] == first[0] {
		t.Error("two senders' events have one id")
	}
}

func TestCompressed(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	z, err := zstd.NewWriter(nil)
	testenv.Check(t, err)
	whole := z.EncodeAll([]byte(native), nil)
	var streamed bytes.Buffer
	z.Reset(&streamed)
	_, err = z.Write([]byte(native))
	testenv.Check(t, err)
	testenv.Check(t, z.Close())
	for name, c := range map[string][2]string{
		"gzip": {"gzip", gzipped(t, native)}, "zstd": {"zstd", string(whole)}, "zstd stream": {"ZSTD", streamed.String()},
		"two gzip members": {"x-gzip", gzipped(t, native[:50]) + gzipped(t, native[50:])}, "identity": {"identity", native},
	} {
		w := r.post(r.agent, c[1], "Content-Encoding", c[0])
		if events := r.takeAll(t); w.Code != http.StatusCreated || len(events) != 1 || string(events[0].Raw) != native {
			t.Errorf("%s: %d %s %v", name, w.Code, w.Body, events)
		}
		if w := r.post(r.agent, c[1][:len(c[1])-5], "Content-Encoding", c[0]); w.Code != http.StatusBadRequest {
			t.Errorf("%s cut short: %d %s", name, w.Code, w.Body)
		}
	}
}

// An agent's token is for that agent only, a collector's for any agent.
func TestTokenAgents(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	other := nativeWith(`"agent_id":"PC2"`)
	check := func(w *httptest.ResponseRecorder, status int, agent, host string) {
		t.Helper()
		if w.Code != status {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		for _, ev := range r.takeAll(t) {
			if ev.AgentID != agent || ev.Host != host {
				t.Errorf("agent %q, host %q", ev.AgentID, ev.Host)
			}
		}
	}
	check(r.post(r.agent, other), 400, "", "")
	check(r.post(r.collector, other), 201, "PC2", "PC1")
	check(r.post(r.agent, `{"event_type":"x","a":1}`), 201, "PC1", "PC1")
	check(r.post(r.collector, `{"event_type":"x","a":1}`), 201, "col", "col")
	check(r.post(r.collector, `{"event_type":"x","host":"h"}`), 201, "h", "h")
	// An id of the format is data, not a claim.
	check(r.post(r.agent, `{"@timestamp":"2026-01-02T03:04:05Z","agent":{"id":"beat"},"winlog":{"channel":"Security","event_id":"4624","computer_name":"dc"}}`), 201, "PC1", "dc")
	check(r.post(r.agent, `{"agent_id":"PC2","winlog":{"channel":"Security","event_id":"4624"}}`), 400, "", "")

	// What was refused for its claim is not the other's when it is put back.
	n, err := r.queue.Requeue(context.Background())
	if err != nil || n != 2 {
		t.Fatal(n, err)
	}
	for _, ev := range r.takeAll(t) {
		if ev.AgentID != "PC1" {
			t.Errorf("put back as %q", ev.AgentID)
		}
	}
}

// An event that says twice which agent sent it is rejected.
func TestRepeatedAgent(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for name, body := range map[string]string{
		"key":  strings.Replace(native, "{", `{"agent_id":"PC2",`, 1),
		"list": `{"message":"x","agent_id":["PC1","PC2"]}`,
	} {
		if w := r.post(r.collector, body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "the event has it more than once") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := r.post(r.collector, native); w.Code != http.StatusCreated {
		t.Errorf("once: %d %s", w.Code, w.Body)
	}
}
