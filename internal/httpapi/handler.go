// Package httpapi is the plumbing of every HTTP handler: handlers that return
// errors, the one table from errors to statuses, the request log, and the
// limits on connections and bodies.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
)

// A Handler answers a request or returns why it can't; it must not do both.
type Handler func(w http.ResponseWriter, r *http.Request) error

// An Error is an error with the answer that it makes, where the kind of the
// error alone does not say enough.
type Error struct {
	Status     int
	RetryAfter int // seconds; 0: none
	Err        error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an *Error.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Err: fmt.Errorf(format, args...)}
}

// statuses is the one table from kinds of error to statuses.
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
	{auth.ErrTooMany, http.StatusTooManyRequests},
	{context.DeadlineExceeded, http.StatusServiceUnavailable},
}

// Status returns the status that err makes: 500 for what is in no table.
func Status(err error) int {
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

// RetryAfter returns the seconds after which trying again may help, or 0.
func RetryAfter(err error) int {
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	switch Status(err) {
	case http.StatusTooManyRequests:
		return 60
	case http.StatusServiceUnavailable:
		return 5
	}
	return 0
}

// Message returns what the caller may read of err: nothing of a 500.
func Message(err error) string {
	if Status(err) == http.StatusInternalServerError {
		return "internal error; the server's log has the cause"
	}
	return err.Error()
}

// An ErrorWriter answers an error in the form that a route's clients expect.
type ErrorWriter func(w http.ResponseWriter, r *http.Request, err error)

// WriteError answers {"error": …}, with Retry-After and WWW-Authenticate where
// they belong.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	SetErrorHeaders(w, err)
	JSON(w, Status(err), map[string]string{"error": Message(err)})
}

// SetErrorHeaders sets the headers that go with err's status.
func SetErrorHeaders(w http.ResponseWriter, err error) {
	if s := RetryAfter(err); s > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(s))
	}
	if Status(err) == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", "Token")
	}
}

// JSON answers v. It writes no escapes for HTML: the answer is not one.
func JSON(w http.ResponseWriter, status int, v any) error {
	body, err := Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return Write(w, status, body)
}

// Marshal returns v as JSON, without HTML escapes and without a newline at the
// end.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Write answers a body that is JSON already.
func Write(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body) // an error here is the client's going away
	return nil
}

// ReadJSON reads a small JSON body into v.
func ReadJSON(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	if err := d.Decode(v); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return err
		}
		return fmt.Errorf("read the body as JSON: %v: %w", err, picket.ErrInvalid)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("read the body as JSON: something after its end: %w", picket.ErrInvalid)
	}
	return nil
}
