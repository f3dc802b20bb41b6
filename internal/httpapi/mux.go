package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// A Mux routes requests to Handlers, writes their errors, logs requests, and
// recovers from panics.
type Mux struct {
	mux       *http.ServeMux
	log       *slog.Logger
	patterns  []string
	fallbacks []fallback
	// What is logged of requests that fail.
	clientErrors, serverErrors *logLimiter
	// WriteRefusal answers requests that no route takes; by default WriteError.
	WriteRefusal ErrorWriter
}

// A fallback handles requests that no route matches.
type fallback struct {
	match   func(*http.Request) bool
	h       Handler
	onError ErrorWriter
}

// NewMux returns an empty Mux.
func NewMux(log *slog.Logger) *Mux {
	return &Mux{mux: http.NewServeMux(), log: log, WriteRefusal: WriteError,
		clientErrors: newLogLimiter(log), serverErrors: newLogLimiter(log)}
}

// RedirectTo returns a handler that redirects to a path.
func RedirectTo(to string) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		http.Redirect(w, r, to, http.StatusFound)
		return nil
	}
}

// Handle adds a route with a pattern of http.ServeMux. onError writes the
// handler's errors.
func (m *Mux) Handle(pattern string, h Handler, onError ErrorWriter) {
	m.patterns = append(m.patterns, pattern)
	m.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, h, onError) })
}

// Fallback adds a handler for requests that no route matches and for which match
// returns true. It is for paths that no pattern can describe.
func (m *Mux) Fallback(match func(*http.Request) bool, h Handler, onError ErrorWriter) {
	m.fallbacks = append(m.fallbacks, fallback{match, h, onError})
}

// Patterns returns the patterns of all routes in the order of Handle.
func (m *Mux) Patterns() []string { return m.patterns }

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse, pattern := m.mux.Handler(r)
	if pattern != "" {
		m.mux.ServeHTTP(w, r)
		return
	}
	for _, f := range m.fallbacks {
		if f.match(r) {
			m.serve(w, r, f.h, f.onError)
			return
		}
	}
	m.serve(w, r, func(w http.ResponseWriter, r *http.Request) error { return unroutedError(w, r, refuse) }, m.WriteRefusal)
}

// unroutedError returns the error for a request that no route matches: an unknown
// path, or a wrong method. http.ServeMux would answer it in plain text.
func unroutedError(w http.ResponseWriter, r *http.Request, refuse http.Handler) error {
	refused := &discardingRecorder{header: make(http.Header)}
	refuse.ServeHTTP(refused, r)
	if refused.status != http.StatusMethodNotAllowed {
		return Errorf(http.StatusNotFound, "no such path: %s", r.URL.Path)
	}
	w.Header().Set("Allow", refused.header.Get("Allow"))
	return Errorf(http.StatusMethodNotAllowed, "Method %q not allowed.", r.Method)
}

// A discardingRecorder is a ResponseWriter that records the status and the header,
// and discards the body.
type discardingRecorder struct {
	header http.Header
	status int
}

func (a *discardingRecorder) Header() http.Header         { return a.header }
func (a *discardingRecorder) WriteHeader(status int)      { a.status = status }
func (a *discardingRecorder) Write(p []byte) (int, error) { return len(p), nil }

// serve runs a handler and logs the request.
func (m *Mux) serve(w http.ResponseWriter, r *http.Request, h Handler, onError ErrorWriter) {
	start := time.Now()
	sw := &statusWriter{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			m.log.Error("request failed", "method", cutLogText(r.Method), "path", cutLogText(r.URL.Path), "panic", p, "stack", string(debug.Stack()))
			if sw.status == 0 {
				onError(sw, r, errors.New("panic"))
			}
		}
	}()
	err := h(sw, r)
	if err != nil && sw.status == 0 {
		onError(sw, r, err)
	}
	m.logRequest(r, sw.status, time.Since(start), err)
}
