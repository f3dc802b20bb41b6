package agent

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// An AnswerError is an HTTP answer that does not accept a batch.
type AnswerError struct {
	Status      int
	ContentType string
	Location    string // of a redirect, which is not followed
	Body        string // its start, printable
	RetryAfter  time.Duration
	// FromPicket is set if the answer is known to be picket's and about this batch.
	// Otherwise a proxy, a portal or any other program may have answered.
	FromPicket bool
	Rejected   []RejectedEvent // of a 400 of picket's that names the events
}

// maxShownBodyBytes bounds AnswerError.Body.
const maxShownBodyBytes = 200

func newAnswerError(res *http.Response, body []byte) *AnswerError {
	return &AnswerError{
		Status: res.StatusCode, ContentType: printable(res.Header.Get("Content-Type")), Location: printable(res.Header.Get("Location")),
		Body: printable(string(body)), RetryAfter: parseRetryAfter(res.Header.Get("Retry-After"), time.Now()),
	}
}

// printable returns the start of s in one line, without what is not printable.
func printable(s string) string {
	s = s[:min(len(s), 8*maxShownBodyBytes)]
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)), " ")
	if len(s) > maxShownBodyBytes {
		s = strings.ToValidUTF8(s[:maxShownBodyBytes], "") + "…"
	}
	return s
}

func (e *AnswerError) Error() string {
	var b strings.Builder
	if e.FromPicket {
		b.WriteString("the server answered ")
	} else {
		b.WriteString("not picket's answer: ")
	}
	fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
	if e.ContentType != "" {
		fmt.Fprintf(&b, " (%s)", e.ContentType)
	}
	if e.Location != "" {
		fmt.Fprintf(&b, " to %s", e.Location)
	}
	if e.Body != "" {
		fmt.Fprintf(&b, ": %s", e.Body)
	}
	return b.String()
}

// refuses reports whether picket itself refuses the batch for good: sending it again
// cannot help.
func (e *AnswerError) refuses() bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return e.FromPicket
	}
	return false
}

// retryDelay is how long the answer asks to wait, 0 if it does not.
func (e *AnswerError) retryDelay() time.Duration {
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		return e.RetryAfter
	}
	return 0
}

// failureKey names why an upload failed, in the same words for each attempt that fails
// for the same reason: addresses and ports differ.
func failureKey(err error) string {
	if a, ok := errors.AsType[*AnswerError](err); ok {
		return fmt.Sprintf("%d %s %t", a.Status, a.ContentType, a.FromPicket)
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

// uploadHint returns what the user can do about a failed upload.
func uploadHint(err error) string {
	a, ok := errors.AsType[*AnswerError](err)
	if !ok {
		return connectHint(err)
	}
	switch {
	case a.Status == http.StatusBadRequest && strings.Contains(a.Body, "HTTPS"): // Go's servers and nginx
		return "the server speaks TLS: use https:// in --server"
	case a.Status == http.StatusForbidden && strings.HasPrefix(a.ContentType, "application/json"):
		return "the token may not send events: make one with picket token create --agent"
	case a.Status == http.StatusUnauthorized && strings.HasPrefix(a.ContentType, "application/json"):
		return "the token is not valid there: make one with picket token create --agent"
	case a.Status >= 300 && a.Status < 400:
		return "a redirect would carry the token elsewhere and is not followed: name the server itself in --server"
	case a.Status == http.StatusTooManyRequests || a.Status >= 500:
		return "the server, or a proxy before it, is busy or failing; nothing is lost"
	case a.FromPicket:
		return "the server refuses the request; is it of the agent's version?"
	default:
		return "another program answers: is this the address of a picket server, and does a proxy or portal intercept?"
	}
}

// connectHint returns what the user can do about a request without an answer.
func connectHint(err error) string {
	var host x509.HostnameError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "the CA of the server's certificate is not known here: name its file in --ca-file"
	case errors.As(err, &host):
		return "the certificate is for another name: use that name in --server"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the server does not speak TLS: use http:// in --server, or give the server a certificate"
	}
	return "is the server running, and does the network reach it?"
}

// parseRetryAfter parses a Retry-After header: seconds or a date. It returns at most
// ten minutes.
func parseRetryAfter(header string, now time.Time) time.Duration {
	const most = 10 * time.Minute
	if n, err := strconv.Atoi(header); err == nil && n > 0 {
		return min(time.Duration(min(n, 3600))*time.Second, most)
	}
	if t, err := http.ParseTime(header); err == nil && t.After(now) {
		return min(t.Sub(now), most)
	}
	return 0
}
