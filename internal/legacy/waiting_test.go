package ingest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// fill fills the queue until not one event more has room.
func (r *rig) fill(t *testing.T) {
	t.Helper()
	for i := range 1000 {
		w := r.post(r.agent, native)
		if w.Code == http.StatusServiceUnavailable {
			if w.Header().Get("Retry-After") != "5" {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			return
		}
		if w.Code != http.StatusCreated {
			t.Fatal(i, w.Code, w.Body)
		}
	}
	t.Fatal("the queue is never full")
}

// postPatiently posts as the replaced system's agent, and returns when that
// waits for room.
func (r *rig) postPatiently(t *testing.T, ctx context.Context, body string) <-chan *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v1/telemetry/", strings.NewReader(body))
	req.Header.Set("Authorization", "Token "+r.agent)
	req.Header.Set("User-Agent", "EDR-Agent/1.0")
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, req)
		done <- w
	}()
	for r.handler.Metrics.LegacyWaiting.Load() == 0 {
		select {
		case w := <-done:
			t.Fatal("not made to wait", w.Code, w.Body)
		default:
			runtime.Gosched()
		}
	}
	return done
}

// The replaced system's agent never hears that the queue is full: it waits,
// and its batch is taken when there is room.
func TestLegacyAgentWaits(t *testing.T) {
	r := newRig(t, sqlitequeue.Options{MaxBytes: 20_000}, ingest.Options{LegacyWait: time.Minute})
	r.fill(t)
	done := r.postPatiently(t, t.Context(), with(`"event_id":"patient"`))
	r.take(t)
	if w := <-done; w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"failed":0,"event_id":"patient"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if events := r.take(t); len(events) != 1 || events[0].ID != "patient" {
		t.Errorf("taken: %v", events)
	}
	if n := r.handler.Metrics.LegacyDropped.Load(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// Past the wait its batch is given up, which is counted.
func TestLegacyAgentIsDropped(t *testing.T) {
	r := newRig(t, sqlitequeue.Options{MaxBytes: 20_000}, ingest.Options{LegacyWait: 50 * time.Millisecond})
	r.fill(t)
	w := r.post(r.agent, "["+native+","+native+"]", "User-Agent", "EDR-Agent/1.0")
	want := `{"status":"accepted","message":"Queued 0 events for processing","batch_size":2,"failed":2}`
	if w.Code != http.StatusCreated || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := r.handler.Metrics.LegacyDropped.Load(); n != 2 {
		t.Errorf("%d dropped", n)
	}
	// Room or not, what is bad of it is bad.
	if w := r.post(r.agent, "{", "User-Agent", "EDR-Agent/1.0"); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// An agent that goes away has forgotten its batch: it is taken all the same.
func TestLegacyAgentGoes(t *testing.T) {
	r := newRig(t, sqlitequeue.Options{MaxBytes: 20_000}, ingest.Options{LegacyWait: time.Minute})
	r.fill(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := r.postPatiently(t, ctx, with(`"event_id":"orphan"`))
	cancel()
	r.take(t)
	<-done
	if events := r.take(t); len(events) != 1 || events[0].ID != "orphan" {
		t.Errorf("taken: %v", events)
	}
}

// A full disk is a full queue.
func TestNearlyFullDisk(t *testing.T) {
	r := newRig(t, sqlitequeue.Options{MinFreeDisk: 1 << 60}, ingest.Options{})
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

// An agent that has dropped events says how many, and the count is kept. What
// is no count changes nothing.
func TestAgentDropped(t *testing.T) {
	r := newRig(t, sqlitequeue.Options{}, ingest.Options{})
	for _, said := range []string{"7", "", "-1", "many", "99999999999999999999", "3"} {
		req := httptest.NewRequest(http.MethodPost, "/api/v1/telemetry/", strings.NewReader(native))
		req.Header.Set("Authorization", "Token "+r.agent)
		req.Header.Set("X-Picket-Dropped", said)
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, req)
		if w.Code != http.StatusCreated {
			t.Fatal(w.Code, w.Body)
		}
	}
	if n := r.handler.Metrics.AgentDropped.Load(); n != 10 {
		t.Errorf("%d dropped, want 10", n)
	}
}
