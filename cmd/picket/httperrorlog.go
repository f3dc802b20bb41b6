package main

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// handshakeLogInterval is how often a failed TLS handshake is logged, whoever fails.
const handshakeLogInterval = time.Minute

// newHTTPErrorLog returns the error log of an HTTP server. Most of what it logs is for
// debugging, but a failed TLS handshake is all that is to be seen of an agent that does not
// trust the certificate.
func newHTTPErrorLog(to *slog.Logger, now func() time.Time) *log.Logger {
	return log.New(&httpErrorWriter{log: to, now: now}, "", 0)
}

// An httpErrorWriter gets a line a call.
type httpErrorWriter struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	logged time.Time // the last failed handshake
	more   int       // those since that were not logged
}

func (w *httpErrorWriter) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	handshake, ok := strings.CutPrefix(text, "http: TLS handshake error from ")
	addr, cause, _ := strings.Cut(handshake, ": ")
	if !ok || cause == "EOF" || !w.allow() { // EOF: a health check or a port scan
		w.log.Debug(text)
		return len(line), nil
	}
	w.log.Warn("TLS handshake failed; clients must use https and trust the certificate", "from", addr, "error", cause, "further_in_the_minute_before", w.takeMore())
	return len(line), nil
}

// allow reports whether to log a handshake. If not, it counts it.
func (w *httpErrorWriter) allow() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.now(); w.logged.IsZero() || now.Sub(w.logged) >= handshakeLogInterval {
		w.logged = now
		return true
	}
	w.more++
	return false
}

// takeMore returns how many handshakes were not logged, and begins at 0.
func (w *httpErrorWriter) takeMore() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.more
	w.more = 0
	return n
}
