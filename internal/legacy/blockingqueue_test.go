package legacy_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/servertest"
	"github.com/picket-edr/picket/internal/testenv"
)

// newFullServer returns a server whose queue has no room for one more event,
// and in which legacy agents wait.
func newFullServer(t *testing.T, wait time.Duration) *servertest.Server {
	t.Helper()
	s := servertest.New(t, servertest.Options{Queue: sqlitequeue.Options{MaxBytes: 20_000}, LegacyWait: wait})
	for range 1000 {
		w := s.Do("agent", "POST", "/api/v1/telemetry/", strings.NewReader(servertest.Event("e", 0, "x")))
		if w.Code == http.StatusServiceUnavailable {
			if w.Header().Get("Retry-After") != "5" {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			return s
		}
		if w.Code != http.StatusCreated {
			t.Fatal(w.Code, w.Body)
		}
	}
	t.Fatal("the queue does not fill up")
	return nil
}

// post posts telemetry as a legacy agent.
func post(ctx context.Context, s *servertest.Server, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v1/telemetry/", strings.NewReader(body))
	req.Header.Set(s.Credentials["agent"][0], s.Credentials["agent"][1])
	req.Header.Set("User-Agent", "EDR-Agent/1.0")
	w := httptest.NewRecorder()
	s.Mux.ServeHTTP(w, req)
	return w
}

// postAndWait starts a post and returns once it waits for room.
func postAndWait(t *testing.T, ctx context.Context, s *servertest.Server, body string) <-chan *httptest.ResponseRecorder {
	t.Helper()
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() { done <- post(ctx, s, body) }()
	for s.LegacyQueue.WaitingRequests() == 0 {
		select {
		case w := <-done:
			t.Fatal("answered without waiting", w.Code, w.Body)
		default:
			runtime.Gosched()
		}
	}
	return done
}

// takeAll empties the queue and returns its events.
func takeAll(t *testing.T, s *servertest.Server) []picket.Event {
	t.Helper()
	var events []picket.Event
	for {
		st, err := s.Queue.Stats(t.Context())
		testenv.Check(t, err)
		if st.Pending == 0 {
			return events
		}
		ds, err := s.Queue.Receive(t.Context(), 100)
		testenv.Check(t, err)
		for _, d := range ds {
			b, err := picket.DecodeBatch(d.Payload)
			testenv.Check(t, err)
			events = append(events, b.Events...)
		}
		testenv.Check(t, s.Queue.Ack(t.Context(), ds...))
	}
}

func wantOnce(t *testing.T, id string, events []picket.Event) {
	t.Helper()
	n := 0
	for _, e := range events {
		if e.ID == id {
			n++
		}
	}
	if n != 1 {
		t.Errorf("event %s was queued %d times", id, n)
	}
}

// A legacy agent never sees a full queue: its request waits, and its batch is
// queued when there is room.
func TestLegacyAgentWaits(t *testing.T) {
	s := newFullServer(t, time.Hour)
	done := postAndWait(t, t.Context(), s, servertest.Event("patient", 0, "x"))
	events := takeAll(t, s) // with the batch, if that found room meanwhile
	if w := <-done; w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"failed":0,"event_id":"patient"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	wantOnce(t, "patient", append(events, takeAll(t, s)...))
	if n := s.LegacyQueue.DroppedEvents(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// A batch that has waited too long is dropped and counted.
func TestLegacyBatchIsDropped(t *testing.T) {
	s := newFullServer(t, 50*time.Millisecond)
	w := post(t.Context(), s, "["+servertest.Event("a", 0, "x")+","+servertest.Event("b", 0, "x")+"]")
	want := `{"status":"accepted","message":"Queued 0 events for processing","batch_size":2,"failed":2}`
	if w.Code != http.StatusCreated || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := s.LegacyQueue.DroppedEvents(); n != 2 {
		t.Errorf("%d dropped", n)
	}
	// Malformed JSON is an error whether or not there is room.
	if w := post(t.Context(), s, "{"); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// An agent that disconnects has discarded its batch, so the batch is queued all
// the same.
func TestLegacyAgentDisconnects(t *testing.T) {
	s := newFullServer(t, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	done := postAndWait(t, ctx, s, servertest.Event("orphan", 0, "x"))
	cancel()
	events := takeAll(t, s) // with the batch, if that found room meanwhile
	<-done
	wantOnce(t, "orphan", append(events, takeAll(t, s)...))
}
