package ingest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// FuzzTelemetry: whatever is posted, the answer is JSON and never a 5xx, the
// counters add up, and what is in the queue is one JSON object an event.
func FuzzTelemetry(f *testing.F) {
	for _, s := range []string{native, "[" + native + "]", native + "\n" + native, "[{}", "[1,2]", `{"a":`, "\x00", `{"event_type":"x","event_id":"\u0000"}`, "[]", " "} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	r := newFixture(f, sqlitequeue.Options{}, ingest.Options{})
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		media := "application/json"
		if lines {
			media = "application/x-ndjson"
		}
		w := r.do("POST", "/api/v1/telemetry/", bytes.NewReader(body), "Authorization", "Token "+r.agent, "Content-Type", media)
		var answer struct {
			BatchSize int `json:"batch_size"`
			Failed    int `json:"failed"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusCreated && (w.Code < 400 || w.Code >= 500) {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		events := r.takeAll(t)
		if len(events) != answer.BatchSize-answer.Failed {
			t.Fatalf("%d events of %s", len(events), w.Body)
		}
		for _, ev := range events {
			if len(ev.Raw) == 0 || ev.Raw[0] != '{' || !json.Valid(ev.Raw) || ev.ID == "" || ev.AgentID != "PC1" || ev.Host == "" {
				t.Fatalf("accepted %+v", ev)
			}
		}
	})
}

// FuzzBulk: whatever is posted, the answer is JSON and never a 5xx, and there
// is an event for each item of status 201.
func FuzzBulk(f *testing.F) {
	for _, s := range []string{"{\"create\":{}}\n{}\n", "{\"index\":{\"_id\":\"a\"}}\n{\"a\":1}\n{\"delete\":{}}\n", "{\"create\":null}\n{", "\n\n", "{}\n{}"} {
		f.Add([]byte(s), "")
		f.Add([]byte(s), "errors,items.*.status")
	}
	r := newFixture(f, sqlitequeue.Options{}, ingest.Options{})
	f.Fuzz(func(t *testing.T, body []byte, accept string) {
		w := r.do("POST", "/_bulk", bytes.NewReader(body), "Authorization", "Token "+r.agent, "Accept", accept)
		var answer struct {
			Items []map[string]struct{ Status int } `json:"items"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK && (w.Code < 400 || w.Code >= 500) {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		created := 0
		for _, item := range answer.Items {
			for _, it := range item {
				if it.Status == http.StatusCreated {
					created++
				}
			}
		}
		if events := r.takeAll(t); len(events) != created {
			t.Fatalf("%d events of %s", len(events), w.Body)
		}
	})
}
