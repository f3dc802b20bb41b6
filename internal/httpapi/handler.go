// Package httpapi is what all HTTP handlers share: handlers that return errors,
// the one table from error kinds to statuses, the request log, and the limit on
// connections.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/queue"
)

// A Handler answers a request or returns an error; it must not do both.
type Handler func(w http.ResponseWriter, r *http.Request) error

// An Error is an error with a status of its own, for errors whose kind does not
// determine it.
type Error struct {
	Status     int
	RetryAfter int // seconds; 0: none
	Err        error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an *Error with a status.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Err: fmt.Errorf(format, args...)}
}

// statuses maps error kinds to statuses.
var statuses = []struct {
	kind   error
	status int
}{
	{picket.ErrInvalid, http.StatusBadRequest},
	{picket.ErrNotFound, http.StatusNotFound},
	{picket.ErrConflict, http.StatusConflict},
	{picket.ErrUnavailable, http.StatusServiceUnavailable},
	{auth.ErrUnauthenticated, http.StatusUnauthorized},
	{auth.ErrForbidden, http.StatusForbidden},
	{auth.ErrTooManySignInFailures, http.StatusTooManyRequests},
	{context.DeadlineExceeded, http.StatusServiceUnavailable},
}

// StatusOf returns the HTTP status of an error: 500 for an unknown kind.
func StatusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok && e != nil {
		return http.StatusRequestEntityTooLarge
	}
	for _, s := range statuses {
		if errors.Is(err, s.kind) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// RetryAfter returns after how many seconds to retry, 0 if retrying does not help.
func RetryAfter(err error) int {
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	switch StatusOf(err) {
	case http.StatusTooManyRequests:
		return 60
	case http.StatusServiceUnavailable:
		return 5
	}
	return 0
}

// ClientMessage returns the text of an error for the client. The causes of server errors
// name hosts, addresses and files, so only the log has them; an *Error is written for
// the client.
func ClientMessage(err error) string { return picket.TrimErrorKindSuffix(clientMessage(err)) }

func clientMessage(err error) string {
	status := StatusOf(err)
	forClient, ok := errors.AsType[*Error](err)
	switch {
	case status < 500:
		return err.Error()
	case ok:
		return forClient.Error()
	case errors.Is(err, queue.ErrDiskFull):
		return "the server's disk is nearly full; keep the events and try again"
	case errors.Is(err, queue.ErrFull):
		return "the queue is full; keep the events and try again"
	case status == http.StatusServiceUnavailable:
		return "temporarily unavailable; the server's log has the cause"
	}
	return "internal error; the server's log has the cause"
}

// An ErrorWriter answers an error in the form that a route's clients expect.
type ErrorWriter func(w http.ResponseWriter, r *http.Request, err error)

// WriteError answers {"error": …} and sets Retry-After and WWW-Authenticate.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	SetErrorHeaders(w, err)
	WriteJSON(w, StatusOf(err), map[string]string{"error": ClientMessage(err)})
}

// SetErrorHeaders sets the headers that belong to an error's status.
func SetErrorHeaders(w http.ResponseWriter, err error) {
	if s := RetryAfter(err); s > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(s))
	}
	if StatusOf(err) == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", "Token")
	}
}

// WriteJSON answers v as JSON, without HTML escapes.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := MarshalJSON(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return WriteRawJSON(w, status, body)
}

// MarshalJSON returns v as WriteJSON, without HTML escapes and without a newline at the
// end.
func MarshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// WriteRawJSON answers a body that is already JSON.
func WriteRawJSON(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body) // fails only if the client has disconnected
	return nil
}

// What a client may send in a body before it is authenticated, and how long that
// may take.
const (
	MaxUnauthenticatedBytes = 4 << 10 // bytes
	UnauthenticatedTimeout  = 10 * time.Second
)

// ReadUnauthenticatedStart reads the start of a body whose sender is not authenticated:
// MaxUnauthenticatedBytes bytes, or less if the body ends before, which complete says.
// r.Body still has all of the body afterwards.
func ReadUnauthenticatedStart(w http.ResponseWriter, r *http.Request) (start []byte, complete bool, err error) {
	conn := http.NewResponseController(w)
	begin := time.Now()
	conn.SetReadDeadline(begin.Add(UnauthenticatedTimeout))
	start = make([]byte, MaxUnauthenticatedBytes)
	n, err := io.ReadFull(r.Body, start)
	start = start[:n]
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		complete = true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, false, Errorf(http.StatusRequestTimeout, "the body took too long to arrive")
	case err != nil:
		return nil, false, fmt.Errorf("read body: %v: %w", err, picket.ErrInvalid)
	default:
		conn.SetReadDeadline(begin.Add(BodyTimeout))
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), r.Body), r.Body}
	return start, complete, nil
}

// BodyTimeout bounds how long the body of an authenticated request may take.
const BodyTimeout = time.Minute
