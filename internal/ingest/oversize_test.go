package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// An event that is too large is rejected alone, with its index, and becomes a dead letter
// that is cut. The other events of its request are accepted.
func TestOversizeEvent(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	large := func(id string) string {
		return `{"event_type":"x","event_id":"` + id + `","a":"` + strings.Repeat(`x\"`, 700_000) + `"}`
	}
	small := func(id string) string { return `{"event_type":"x","event_id":"` + id + `"}` }
	osquery := func(events ...string) string {
		return `{"node_key":"` + r.collector + `","log_type":"result","data":[` + strings.Join(events, ",") + `]}`
	}
	for name, c := range map[string]struct {
		path, contentType, body string
		status                  int
		answer                  string // part of it
	}{
		"array":         {"/api/v1/telemetry/", "application/json", "[" + small("1") + " , " + large("2") + " ,\n" + small("3") + "]", 201, `"batch_size":3,"failed":1,"errors":[{"index":1,`},
		"lines":         {"/api/v1/telemetry/", "application/x-ndjson", small("1") + "\n" + large("2") + "\n" + small("3"), 201, `"batch_size":3,"failed":1,"errors":[{"index":1,`},
		"lines as JSON": {"/api/v1/telemetry/", "application/json", large("2") + "\n" + small("1") + "\n" + small("3"), 201, `"batch_size":3,"failed":1,"errors":[{"index":0,`},
		"bulk": {"/_bulk", "application/x-ndjson", "{\"create\":{}}\n" + small("1") + "\n{\"create\":{}}\n" + large("2") + "\n{\"create\":{}}\n" + small("3") + "\n",
			200, `{"create":{"status":413,`},
		"osquery": {"/api/v1/osquery/log", "application/json", osquery(small("1"), large("2"), small("3")), 200, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := r.do(http.MethodPost, c.path, strings.NewReader(c.body), "Authorization", "Token "+r.collector, "Content-Type", c.contentType)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.answer) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			var ids []string
			for _, ev := range r.takeAll(t) {
				ids = append(ids, ev.ID)
			}
			if diff := cmp.Diff([]string{"1", "3"}, ids); diff != "" {
				t.Error("accepted (-want +got):", diff)
			}
			page, err := r.queue.DeadLetters(context.Background(), 0, 10)
			testenv.Check(t, err)
			if len(page.DeadLetters) != 1 {
				t.Fatalf("%d dead letters", len(page.DeadLetters))
			}
			l := page.DeadLetters[0]
			b, err := picket.DecodeBatch(l.Payload)
			testenv.Check(t, err)
			if raw := string(b.Events[0].Raw); len(raw) != 16<<10 || !strings.HasPrefix(large("2"), raw) {
				t.Errorf("the dead letter has %d bytes: %.100s", len(raw), raw)
			}
			if want := "the event has 2100040 bytes, more than the 1048576 that are accepted"; !strings.Contains(l.Cause, want) {
				t.Errorf("its cause is %q", l.Cause)
			}
			_, err = r.queue.Purge(context.Background())
			testenv.Check(t, err)
		})
	}
}

// The answer has the index and the reason of each event also if all were rejected, and
// what every error of the API has.
func TestAllRejected(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{MaxEventBytes: 1000})
	large := `{"event_type":"x","a":"` + strings.Repeat("x", 1000) + `"}`
	const unknown = "no known format; add event_type (any name), see docs/telemetry.md"
	tooLarge := fmt.Sprintf("the event has %d bytes, more than the 1000 that are accepted (--max-event); only its start is kept", len(large))
	type rejected struct {
		Index  int    `json:"index"`
		Reason string `json:"reason"`
	}
	for name, c := range map[string]struct {
		body     string
		status   int
		error    string
		rejected []rejected
	}{
		"unknown format":     {`{"host":"h","message":"x"}`, 400, unknown, []rejected{{0, unknown}}},
		"unknown formats":    {`[{"host":"h","message":"x"},{"message":"y"}]`, 400, "all 2 events were rejected; the first: " + unknown, []rejected{{0, unknown}, {1, unknown}}},
		"large":              {large, 413, tooLarge, []rejected{{0, tooLarge}}},
		"large ones":         {"[" + large + "," + large + "]", 413, "all 2 events were rejected; the first: " + tooLarge, []rejected{{0, tooLarge}, {1, tooLarge}}},
		"large and unknown":  {large + "\n" + `{"message":"y"}`, 400, "all 2 events were rejected; the first: " + tooLarge, []rejected{{0, tooLarge}, {1, unknown}}},
		"malformed":          {`{"a":}`, 400, "JSON parse error - expected a value at byte 5", nil},
		"malformed and long": {"[" + large + ",,]", 400, fmt.Sprintf("JSON parse error - expected a value at byte %d", len(large)+2), nil},
	} {
		w := r.post(r.collector, c.body)
		var got struct {
			Error    string
			Rejected []rejected
		}
		testenv.Check(t, json.Unmarshal(w.Body.Bytes(), &got))
		if diff := cmp.Diff(c.rejected, got.Rejected); w.Code != c.status || got.Error != c.error || diff != "" {
			t.Errorf("%s: %d %s\n%s", name, w.Code, w.Body, diff)
		}
	}
	if refused := r.handler.RefusedRequests(); refused["invalid"] != 5 || refused["too_large"] != 2 {
		t.Errorf("refused: %v", refused)
	}
}
