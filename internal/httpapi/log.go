package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/picket-edr/picket/internal/auth"
)

// What requests can write into the log: so many of those that fail a minute, with
// texts cut. A summary counts the others.
const (
	maxLoggedRequestsPerMinute = 60 // of client errors; the same of server errors
	maxLogTextBytes            = 512
	logLimitPeriod             = time.Minute
)

// logRequest logs a request: server errors at Error, client errors at Info, and
// successes at Debug, because telemetry is thousands of requests a second.
func (m *Mux) logRequest(r *http.Request, status int, took time.Duration, err error) {
	level, limiter := slog.LevelDebug, (*logLimiter)(nil)
	switch {
	case err != nil && errors.Is(err, context.Canceled):
	case status >= 500:
		level, limiter = slog.LevelError, m.serverErrors
		if status == http.StatusServiceUnavailable {
			level = slog.LevelInfo
		}
	case status >= 400:
		level, limiter = slog.LevelInfo, m.clientErrors
	}
	if !m.log.Enabled(r.Context(), level) || limiter != nil && !limiter.allow(status) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", cutLogText(r.Method)), slog.String("path", cutLogText(r.URL.Path)), slog.Int("status", status),
		slog.Duration("took", took.Round(time.Microsecond)), slog.String("from", auth.ClientIP(r)),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", cutLogText(err.Error())))
	}
	m.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// cutLogText returns a text as the log has it: at most maxLogTextBytes of it.
func cutLogText(s string) string {
	if len(s) <= maxLogTextBytes {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:maxLogTextBytes], len(s))
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
