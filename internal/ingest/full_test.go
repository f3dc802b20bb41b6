package ingest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// A nearly full disk counts as a full queue.
func TestNearlyFullDisk(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{MinFreeDisk: 1 << 60}, ingest.Options{})
	if w := r.post(r.agent, native); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "5" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	w := r.do("POST", "/_bulk", strings.NewReader("{\"index\":{}}\n{}\n"), "Authorization", "ApiKey "+r.agent)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "5" || !strings.Contains(w.Body.String(), `"type":"es_rejected_execution_exception"`) {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	w = r.do("POST", "/api/v1/osquery/log", strings.NewReader(`{"node_key":"`+r.agent+`","log_type":"result","data":[{}]}`))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Agents report how many events they dropped, which is counted. A malformed
// count is ignored.
func TestAgentDropped(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for _, count := range []string{"7", "", "-1", "many", "99999999999999999999", "3"} {
		req := httptest.NewRequest(http.MethodPost, "/api/v1/telemetry/", strings.NewReader(native))
		req.Header.Set("Authorization", "Token "+r.agent)
		req.Header.Set("X-Picket-Dropped", count)
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, req)
		if w.Code != http.StatusCreated {
			t.Fatal(w.Code, w.Body)
		}
	}
	if n := r.handler.AgentDroppedEvents(); n != 10 {
		t.Errorf("%d dropped, want 10", n)
	}
}
