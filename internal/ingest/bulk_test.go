package ingest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

func TestBulk(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{MaxEvents: 10, MaxEventBytes: 1000})
	illegal := func(reason string) string {
		return `{"error":{"reason":"` + reason + `","root_cause":[{"type":"illegal_argument_exception","reason":"` + reason + `"}],"type":"illegal_argument_exception"},"status":400}`
	}
	const filter = "?filter_path=errors,items.*.error,items.*.status"
	cases := []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"create", "/_bulk" + filter, `{"create":{"_index":"winlogbeat-8"}}` + "\n" + `{"message":"m"}` + "\n", 200, `{"errors":false,"items":[{"create":{"status":201}}]}`},
		{"its own id", "/_bulk?filter_path=items", `{"index":{"_index":"i","_id":"x1"}}` + "\n{}\n", 200, `{"items":[{"index":{"_index":"i","_id":"x1","status":201,"result":"created"}}]}`},
		{"index in the path", "/logs/_bulk?filter_path=items.*._index", `{"create":{}}` + "\n{}\n", 200, `{"items":[{"create":{"_index":"logs"}}]}`},
		{"a type in the path", "/logs/events/_bulk?filter_path=errors", `{"index":{}}` + "\n{}\n", 200, `{"errors":false}`},
		{"no newline at the end", "/_bulk?filter_path=errors", `{"create":null}` + "\r\n{}", 200, `{"errors":false}`},
		{"partly bad", "/_bulk" + filter, `{"create":{}}` + "\n{}\n" + `{"create":{}}` + "\n{\n" + `{"delete":{"_id":"a"}}` + "\n" + `{"update":{"_id":"a"}}` + "\n{}\n" + `{"index":{}}` + "\n[1]\n", 200,
			`{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"not acceptable JSON: expected a key at byte 1"}}},` +
				`{"delete":{"status":400,"error":{"type":"illegal_argument_exception","reason":"picket does not delete events"}}},` +
				`{"update":{"status":400,"error":{"type":"illegal_argument_exception","reason":"picket does not change events"}}},` +
				`{"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"Invalid data. Expected a dictionary, but got list."}}}]}`},
		{"only errors of none", "/_bulk?filter_path=items.*.error", `{"create":{}}` + "\n{}\n", 200, `{}`},
		{"malformed action", "/_bulk", `{"create":{}}` + "\n{}\n" + `{"make":{}}` + "\n{}\n", 400, illegal("malformed action/metadata line [3]: expected one of create, index, update, delete")},
		{"no document", "/_bulk", `{"create":{}}` + "\n", 400, illegal("the last action has no document")},
		{"empty", "/_bulk", "\n", 400, illegal("the body is empty")},
		{"two actions in a line", "/_bulk", `{"create":{},"index":{}}` + "\n{}\n", 400, illegal("malformed action/metadata line [1]: expected one of create, index, update, delete")},
		{"large document", "/_bulk" + filter, `{"create":{}}` + "\n" + `{"x":"` + strings.Repeat("x", 1000) + `"}` + "\n" + `{"create":{}}` + "\n{}\n", 200, `{"errors":true,"items":[` +
			`{"create":{"status":413,"error":{"type":"illegal_argument_exception","reason":"the event has 1008 bytes, more than the 1000 that are accepted (--max-event); only its start is kept"}}},` +
			`{"create":{"status":201}}]}`},
		{"large action", "/_bulk", `{"create":{"_id":"` + strings.Repeat("x", 1000) + `"}}` + "\n{}\n", 400, illegal("malformed action/metadata line [1]: it has 1021 bytes, more than the 1000 that are accepted")},
		{"more than a batch of telemetry", "/_bulk?filter_path=errors", strings.Repeat(`{"create":{}}`+"\n{}\n", 100), 200, `{"errors":false}`},
		{"too many", "/_bulk", strings.Repeat(`{"create":{}}`+"\n{}\n", 101), 413, ""},
	}
	for _, c := range cases {
		w := r.do("POST", c.path, strings.NewReader(c.body), "Authorization", "ApiKey "+r.collector, "Content-Type", "application/x-ndjson")
		if w.Code != c.status || c.want != "" && w.Body.String() != c.want {
			t.Errorf("%s: %d %s\n want %d %s", c.name, w.Code, w.Body, c.status, c.want)
		}
		if w.Header().Get("X-Elastic-Product") != "Elasticsearch" {
			t.Errorf("%s: no X-Elastic-Product", c.name)
		}
	}
}

// The whole response, and what is enqueued.
func TestBulkResponse(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	body := `{"create":{"_index":"winlogbeat-8"}}` + "\n" + `{"event_id":"own","host":{"name":"h"}}` + "\n" + `{"create":{"_index":"b","_id":"given"}}` + "\n" + `{"host":{"name":"h"}}` + "\n"
	accept := "application/vnd.elasticsearch+json; compatible-with=8"
	w := r.do("POST", "/_bulk", strings.NewReader(gzipped(t, body)), "Authorization", "Token "+r.collector, "Content-Encoding", "gzip",
		"Content-Type", "application/vnd.elasticsearch+x-ndjson; compatible-with=8", "Accept", accept)
	var answer struct {
		Took   *int64
		Errors *bool
		Items  []map[string]map[string]any
	}
	testenv.Check(t, json.Unmarshal(w.Body.Bytes(), &answer))
	if w.Code != 200 || answer.Took == nil || answer.Errors == nil || *answer.Errors || len(answer.Items) != 2 ||
		answer.Items[0]["create"]["_id"] != "own" || answer.Items[1]["create"]["_id"] != "given" || answer.Items[0]["create"]["result"] != "created" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != accept {
		t.Errorf("Content-Type %q", got)
	}
	events := r.takeAll(t)
	if len(events) != 2 || events[0].ID != "own" || events[1].ID != "given" || events[0].Host != "h" || events[0].Type != "winlogbeat-8" {
		t.Errorf("%+v", events)
	}
}

// The requests that senders make besides the bulk API.
func TestElasticsearchProbes(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for _, c := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"GET", "/", "", 200, `"number":"8.17.0"`},
		{"HEAD", "/", "", 200, ""},
		{"GET", "/_cluster/health", "", 200, `"status":"green"`},
		{"GET", "/_license", "", 200, `"type":"basic"`},
		{"GET", "/_xpack", "", 200, `"ilm"`},
		{"GET", "/_nodes/http", "", 200, `"nodes":{}`},
		{"HEAD", "/_index_template/x", "", 200, ""},
		{"PUT", "/_index_template/x", "{}", 200, `{"acknowledged":true}`},
		{"PUT", "/_ilm/policy/x", "{}", 200, `{"acknowledged":true}`},
		{"PUT", "/_ingest/pipeline/x", "{}", 200, `{"acknowledged":true}`},
		{"PUT", "/_data_stream/x", "", 200, `{"acknowledged":true}`},
		{"HEAD", "/logs", "", 200, ""},
		{"PUT", "/logs", "{}", 200, `"index":"logs"`},
		{"POST", "/logs/_refresh", "", 200, `"_shards"`},
		{"POST", "/logs/_doc", `{"a":1}`, 201, `"result":"created"`},
		{"PUT", "/logs/_doc/a%2Fb", `{"a":1}`, 201, `"_id":"a/b"`},
		{"PUT", "/logs/_create/7", `{"a":1}`, 201, `"_id":"7"`},
		{"POST", "/system/events", `{"a":1}`, 201, `"_index":"system"`},
		{"POST", "/logs/_doc", `{"a":`, 400, `"illegal_argument_exception"`},
		{"PUT", "/logs/_doc", `{"a":1}`, 201, ""},
		{"POST", "/logs/_search", `{}`, 404, `no handler found for uri [/logs/_search] and method [POST]`},
		{"DELETE", "/logs", ``, 404, `no handler found`},
		{"GET", "/api/v1/nothing", "", 404, `{"error":"no such path: /api/v1/nothing"}`},
		{"POST", "/api/v1/alerts", "{}", 404, `{"error":"no such path: /api/v1/alerts"}`},
	} {
		w := r.do(c.method, c.path, strings.NewReader(c.body), "Authorization", "Token "+r.agent)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.contains) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
		bare := r.do(c.method, c.path, strings.NewReader(c.body))
		if c.status < 300 && bare.Code != http.StatusUnauthorized && bare.Code != http.StatusNotFound {
			t.Errorf("%s %s without a token: %d", c.method, c.path, bare.Code)
		}
	}
	w := r.do("POST", "/_bulk", nil)
	if w.Code != 401 || w.Header().Get("WWW-Authenticate") != `Basic realm="picket"` || !strings.Contains(w.Body.String(), `"type":"security_exception"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.do("POST", "/_bulk", nil, "Authorization", "Token "+r.api); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOsquery(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{MaxEvents: 10, MaxEventBytes: 1000})
	row := `{"name":"process_events","hostIdentifier":"h","unixTime":1700000000,"action":"added","columns":{"path":"/bin/sh","cmdline":"sh -c id"}}`
	log := func(key, kind, data string) string {
		return `{"node_key":"` + key + `","log_type":"` + kind + `","data":` + data + `}`
	}
	for _, c := range []struct {
		name, path, body string
		status           int
		want             string
		events           int
	}{
		{"enroll", "enroll", `{"enroll_secret":"` + r.collector + `","host_identifier":"h"}`, 200, `{"node_invalid":false,"node_key":"` + r.collector + `"}`, 0},
		{"enroll with a wrong secret", "enroll", `{"enroll_secret":"no"}`, 200, `{"node_invalid":true}`, 0},
		{"enroll with an API token", "enroll", `{"enroll_secret":"` + r.api + `"}`, 200, `{"node_invalid":true}`, 0},
		{"results", "log", log(r.collector, "result", "["+row+","+row+"]"), 200, `{}`, 2},
		{"status", "log", log(r.collector, "status", `[{"severity":"0","message":"m"}]`), 200, `{}`, 1},
		{"gone", "log", log("no", "result", "["+row+"]"), 200, `{"node_invalid":true}`, 0},
		{"no key", "log", `{"log_type":"result","data":[]}`, 200, `{"node_invalid":true}`, 0},
		{"nothing", "log", log(r.agent, "result", "[]"), 200, `{}`, 0},
		{"null", "log", log(r.agent, "result", "null"), 400, `{"error":"read the log of osquery: data is no array"}`, 0},
		{"bad row", "log", log(r.collector, "result", "["+row+",5]"), 200, `{}`, 1},
		{"no data", "log", `{"node_key":"` + r.agent + `"}`, 400, `{"error":"read the log of osquery: data is missing"}`, 0},
		{"a number as key", "log", `{"node_key":1,"data":[]}`, 400, `{"error":"read the request of osquery: node_key is no string"}`, 0},
		{"enroll without a secret", "enroll", `{}`, 400, `{"error":"read the request of osquery: enroll_secret is missing"}`, 0},
		{"no JSON", "log", `nope`, 400, `{"error":"read the request of osquery: not JSON"}`, 0},
		{"cut short", "log", log(r.agent, "result", "[{")[:60], 400, "", 0},
		{"too many", "log", log(r.agent, "result", "["+strings.Repeat("1,", 10)+"1]"), 413, "", 0},
		{"too large", "log", log(r.agent, "result", `[{"a":"`+strings.Repeat("x", 1000)+`"},`+row+`]`), 200, `{}`, 1},
		{"large and unknown", "log", log("no", "result", `["`+strings.Repeat("x", 200<<10)), 200, `{"node_invalid":true}`, 0},
	} {
		w := r.do("POST", "/api/v1/osquery/"+c.path, strings.NewReader(c.body), "Content-Type", "application/json")
		if w.Code != c.status || c.want != "" && w.Body.String() != c.want {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
		if events := r.takeAll(t); len(events) != c.events {
			t.Errorf("%s: %d events", c.name, len(events))
		}
	}
}
