package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue"
)

func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		err           error
		status, retry int
		message       string
	}{
		{fmt.Errorf("a: %w", picket.ErrInvalid), 400, 0, "a"},
		{picket.ErrNotFound, 404, 0, "not found"},
		{picket.ErrConflict, 409, 0, "conflict"},
		{queue.ErrFull, 503, 5, "the queue is full; keep the events and try again"},
		{fmt.Errorf("/var/lib/picket: %w", queue.ErrDiskFull), 503, 5, "the server's disk is nearly full; keep the events and try again"},
		{auth.ErrUnauthenticated, 401, 0, "not authenticated"},
		{auth.ErrForbidden, 403, 0, "not allowed"},
		{auth.ErrTooManySignInFailures, 429, 60, "too many failed sign-ins"},
		{fmt.Errorf("redis://secret:6379: %w", queue.ErrFull), 503, 5, "the queue is full; keep the events and try again"},
		{context.DeadlineExceeded, 503, 5, "temporarily unavailable; the server's log has the cause"},
		{fmt.Errorf("read mongodb://secret: %w", picket.ErrUnavailable), 503, 5, "temporarily unavailable; the server's log has the cause"},
		{fmt.Errorf("/secret: %w", httpapi.Errorf(503, "narrow it")), 503, 5, "narrow it"},
		{&http.MaxBytesError{Limit: 1}, 413, 0, "http: request body too large"},
		{&httpapi.Error{Status: 429, RetryAfter: 7, Err: errors.New("x")}, 429, 7, "x"},
		{errors.New("secret"), 500, 0, "internal error; the server's log has the cause"},
	} {
		if s, r, m := httpapi.StatusOf(c.err), httpapi.RetryAfter(c.err), httpapi.ClientMessage(c.err); s != c.status || r != c.retry || m != c.message {
			t.Errorf("%v: %d, %d, %q", c.err, s, r, m)
		}
	}
}

func TestMux(t *testing.T) {
	var log strings.Builder
	m := httpapi.NewMux(slog.New(slog.NewTextHandler(&log, nil)))
	m.WriteRefusal = legacy.WriteUnroutedError
	answer := func(text string) httpapi.Handler {
		return func(w http.ResponseWriter, r *http.Request) error { return httpapi.WriteJSON(w, 200, text) }
	}
	m.Handle("GET /a/{id}", answer("<a>"), httpapi.WriteError)
	m.Handle("POST /b/{$}", answer("b"), httpapi.WriteError)
	m.Handle("GET /panic", func(http.ResponseWriter, *http.Request) error { panic("secret") }, httpapi.WriteError)
	m.Handle("GET /fail", func(http.ResponseWriter, *http.Request) error { return fmt.Errorf("secret") }, httpapi.WriteError)
	m.Handle("GET /late", func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(204)
		return errors.New("late")
	}, httpapi.WriteError)
	m.Fallback(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/f/") }, answer("f"), httpapi.WriteError)
	for _, c := range []struct {
		method, path string
		status       int
		want, allow  string
	}{
		{"GET", "/a/1", 200, `"<a>"`, ""},
		{"HEAD", "/a/1", 200, `"<a>"`, ""},
		{"PUT", "/a/1", 405, `{"error":"Method \"PUT\" not allowed."}`, "GET, HEAD"},
		{"GET", "/b/", 405, `{"detail":"Method \"GET\" not allowed."}`, "POST"},
		{"GET", "/c", 404, `{"error":"no such path: /c"}`, ""},
		{"GET", "/f/x/y", 200, `"f"`, ""},
		{"GET", "/panic", 500, `{"error":"internal error; the server's log has the cause"}`, ""},
		{"GET", "/fail", 500, `{"error":"internal error; the server's log has the cause"}`, ""},
		{"GET", "/late", 204, ``, ""},
	} {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || w.Body.String() != c.want || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %s, Allow %q", c.method, c.path, w.Code, w.Body, w.Header().Get("Allow"))
		}
		if c.want != "" && (w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store") {
			t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
		}
	}
	if !strings.Contains(log.String(), "secret") {
		t.Error("the cause of a 500 is not in the log")
	}
	if len(m.Patterns()) != 5 {
		t.Errorf("patterns %q", m.Patterns())
	}
}

func TestReadJSON(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"a":1}`: true, ` {"a":1} `: true, `{"a":1}{`: false, `{"a":"x"}`: false, ``: false, `[`: false, `null`: false, `{"a":null}`: false, `{"b":1}`: false, `{"A":1}`: false, `{"a":1,"b":"` + strings.Repeat("x", 1<<20) + `"}`: false,
	} {
		var v struct {
			A int `json:"a"`
		}
		err := httpapi.ReadJSON(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)), &v)
		if (err == nil) != ok || err != nil && httpapi.StatusOf(err) != 400 && httpapi.StatusOf(err) != 413 {
			t.Errorf("%.20s: %v", body, err)
		}
	}
}

// A fakeConn records whether it was closed.
type fakeConn struct {
	net.Conn
	closed bool
}

func (c *fakeConn) Close() error { c.closed = true; return nil }

// Beyond the limit, idle connections are closed first, then those with the longest
// requests. A new connection is always accepted.
func TestConnLimiter(t *testing.T) {
	bound := httpapi.NewConnLimiter(3)
	cs := make([]*fakeConn, 7)
	for i := range cs {
		cs[i] = new(fakeConn)
	}
	gone := func(want string) {
		t.Helper()
		var got strings.Builder
		for i, c := range cs {
			if c.closed {
				fmt.Fprint(&got, i)
			}
		}
		if got.String() != want {
			t.Errorf("closed %q, want %q", got.String(), want)
		}
	}
	for i := range 3 {
		bound.TrackState(cs[i], http.StateNew)
		bound.TrackState(cs[i], http.StateActive)
	}
	bound.TrackState(cs[1], http.StateIdle)
	gone("")
	bound.TrackState(cs[3], http.StateNew)
	gone("1") // the one that idles
	bound.TrackState(cs[1], http.StateClosed)
	bound.TrackState(cs[3], http.StateActive)
	bound.TrackState(cs[4], http.StateNew)
	gone("01") // none idles: the one that takes longest
	bound.TrackState(cs[4], http.StateActive)
	bound.TrackState(cs[2], http.StateHijacked)
	bound.TrackState(cs[5], http.StateNew)
	gone("01")
	bound.TrackState(cs[6], http.StateNew)
	gone("015")
	if open, closed := bound.Counts(); open != 3 || closed != 3 {
		t.Errorf("%d open, %d closed", open, closed)
	}
	none := httpapi.NewConnLimiter(0)
	last := new(fakeConn)
	none.TrackState(last, http.StateNew)
	if !last.closed {
		t.Error("past a bound of none")
	}
}
