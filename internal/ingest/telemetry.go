package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/normalize"
)

// A telemetryAnswer is the answer to a request of which at least one event was
// accepted. The first four fields, and event_id for a single event, are a wire
// contract with legacy agents.
type telemetryAnswer struct {
	Status    string         `json:"status"`
	Message   string         `json:"message"`
	BatchSize int            `json:"batch_size"`
	Failed    int            `json:"failed"`
	EventID   string         `json:"event_id,omitempty"`
	Errors    []indexedError `json:"errors,omitempty"`
}

// An indexedError is why one event of several was rejected.
type indexedError struct {
	Index   int         `json:"index"`
	EventID string      `json:"event_id"`
	Reason  string      `json:"reason"`
	Errors  FieldErrors `json:"errors"`
}

// AllDroppedAnswer returns the answer to a request whose n events were all dropped.
func AllDroppedAnswer(n int) any {
	return telemetryAnswer{Status: "accepted", Message: queuedMessage(0), BatchSize: n, Failed: n}
}

// A rejectionAnswer is the answer when every event was rejected. The first three fields
// are a wire contract with legacy agents.
type rejectionAnswer struct {
	Status   string           `json:"status"`
	Message  string           `json:"message"`
	Errors   any              `json:"errors"` // FieldErrors; for several events a list with one for each
	Error    string           `json:"error"`  // as in all errors of the API
	Rejected []rejectedReason `json:"rejected"`
}

// maxListedRejections bounds Rejected; Errors has all.
const maxListedRejections = 1000

// A rejectedReason is why one event was rejected, in one line.
type rejectedReason struct {
	Index   int    `json:"index"`
	EventID string `json:"event_id"`
	Reason  string `json:"reason"`
}

// telemetry accepts one event, an array, or NDJSON.
func (h *Handler) telemetry(w http.ResponseWriter, r *http.Request) error {
	from, err := h.tokens.AuthenticateSender(r.Context(), auth.TokenSecret(r))
	if err != nil {
		return err
	}
	lines, err := isNDJSON(r)
	if err != nil {
		return err
	}
	s := eventSplitter{maxEventBytes: h.opt.MaxEventBytes, maxEvents: h.opt.MaxEvents, lines: lines, start: -1}
	var sniffer lineSniffer
	undecided := !lines
	body, release, err := h.bodies.read(w, r, from.String(), func(body []byte) ([]byte, error) {
		if undecided {
			s.lines, undecided = sniffer.sniff(body)
		}
		if undecided && len(body) <= h.opt.MaxEventBytes {
			return body, nil
		}
		undecided = false // the first event is too large, which objects and lines have alike
		return s.scanAndCut(body)
	})
	if err != nil {
		return asParseError(err)
	}
	defer release()
	if body, err = s.scanAndCut(body); err != nil {
		return asParseError(err)
	}
	if err := s.finish(body); err != nil {
		return asParseError(err)
	}

	b := h.newBatchBuilder(from)
	b.batch.Events = make([]picket.Event, 0, len(s.spans))
	single := !s.array && !s.lines && len(s.spans) == 1
	if err := h.readers.use(r.Context(), from.String(), func(reader *normalize.Reader) error {
		return b.addSpans(reader, body, s.spans, s.array || single)
	}); err != nil {
		return err
	}
	status, answer, err := b.answer(single)
	if err != nil {
		return err
	}
	if err := b.enqueue(r.Context(), release); err != nil {
		return err
	}
	if status != http.StatusCreated {
		h.refused.count(httpapi.Errorf(status, "every event was rejected"))
	}
	h.countAgentDropped(r, from)
	return httpapi.WriteRawJSON(w, status, answer)
}

// agentDroppedHeader is how an agent reports how many events it has lost, because its spool
// was full or damaged, since it last reported.
const agentDroppedHeader = "X-Picket-Dropped"

func (h *Handler) countAgentDropped(r *http.Request, from auth.Identity) {
	n, err := strconv.ParseInt(r.Header.Get(agentDroppedHeader), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt32 {
		return
	}
	h.agentDropped.Add(n)
	h.opt.Log.Warn("agent lost events: its spool was full or damaged", "agent", from.Subject, "events", n)
}

// addSpans adds the events of a body. A body that is one JSON text is rejected
// as a whole if it is malformed anywhere.
func (b *batchBuilder) addSpans(reader *normalize.Reader, body []byte, spans []eventSpan, oneJSONText bool) error {
	for i, sp := range spans {
		raw := bytes.TrimSpace(body[sp.start:sp.end])
		if sp.size > b.h.opt.MaxEventBytes {
			b.rejectOversize(raw, sp.size, requestDefaults{})
			continue
		}
		if errs := b.addEvent(reader, raw, requestDefaults{}); errs == nil || !oneJSONText || json.Valid(raw) {
			continue
		}
		reason := "malformed"
		if _, err := reader.Read(raw); err != nil {
			reason = err.Error()
		}
		if len(spans) > 1 {
			reason += fmt.Sprintf(" of event %d", i)
		}
		return httpapi.Errorf(http.StatusBadRequest, "JSON parse error - %s", reason)
	}
	return nil
}

// answer returns the status and body of the answer.
func (b *batchBuilder) answer(single bool) (status int, body []byte, err error) {
	n := len(b.batch.Events)
	if n == 0 && b.seen > 0 {
		return b.rejectionAnswer(single)
	}
	answer := telemetryAnswer{Status: "accepted", Message: queuedMessage(n), BatchSize: b.seen, Failed: len(b.rejected)}
	if single {
		answer.EventID = b.batch.Events[0].ID
	}
	for _, rej := range b.rejected {
		answer.Errors = append(answer.Errors, indexedError{rej.index, rej.id, rej.errs.String(), rej.errs})
	}
	body, err = httpapi.MarshalJSON(answer)
	return http.StatusCreated, body, err
}

// rejectionAnswer returns the status and body of the answer when every event was rejected.
func (b *batchBuilder) rejectionAnswer(single bool) (status int, body []byte, err error) {
	answer := rejectionAnswer{Status: "error", Message: "Validation failed"}
	status = http.StatusRequestEntityTooLarge
	errs := make([]FieldErrors, b.seen)
	for i, rej := range b.rejected {
		errs[rej.index] = rej.errs
		if i < maxListedRejections {
			answer.Rejected = append(answer.Rejected, rejectedReason{rej.index, rej.id, rej.errs.String()})
		}
		if !rej.oversize {
			status = http.StatusBadRequest
		}
	}
	answer.Errors, answer.Error = errs, fmt.Sprintf("all %d events were rejected; the first: %s", b.seen, answer.Rejected[0].Reason)
	if single {
		answer.Errors, answer.Error = errs[0], answer.Rejected[0].Reason
	}
	body, err = httpapi.MarshalJSON(answer)
	return status, body, err
}

func queuedMessage(n int) string { return fmt.Sprintf("Queued %d events for processing", n) }

// isNDJSON reports whether a request declares NDJSON. It refuses content types
// other than JSON; a request without one is taken for JSON.
func isNDJSON(r *http.Request) (bool, error) {
	ct := r.Header.Get("Content-Type")
	if ct == "" {
		return false, nil
	}
	media, _, err := mime.ParseMediaType(ct)
	if err == nil {
		switch media {
		case "application/json", "text/json":
			return false, nil
		case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
			return true, nil
		}
	}
	return false, httpapi.Errorf(http.StatusUnsupportedMediaType, `Unsupported media type "%s" in request. Send application/json or application/x-ndjson.`, ct)
}

// A lineSniffer decides from the start of a body declared as plain JSON whether it is
// NDJSON: its first line is a complete object and more follows. It looks at each byte
// once, however often the body grows.
type lineSniffer struct {
	start int // of the first line, after white space
	end   int // of the first line; 0 until there is a newline
	at    int // how far the body has been looked at
}

// sniff looks at the new part of a growing body. undecided means that more of the body
// is needed.
func (s *lineSniffer) sniff(body []byte) (lines, undecided bool) {
	for s.at == s.start && s.at < len(body) && isJSONSpace(body[s.at]) {
		s.at++
		s.start++
	}
	if s.start == len(body) {
		return false, true
	}
	if body[s.start] != '{' {
		return false, false
	}
	if s.end == 0 {
		i := bytes.IndexByte(body[s.at:], '\n')
		if i < 0 {
			s.at = len(body)
			return false, true
		}
		s.end = s.at + i
		s.at = s.end + 1
	}
	for s.at < len(body) && isJSONSpace(body[s.at]) {
		s.at++
	}
	if s.at == len(body) {
		return false, true
	}
	line := body[s.start:s.end]
	one := eventSplitter{maxEventBytes: len(line) + 1, maxEvents: 1, start: -1}
	return one.scanValues(line) == nil && len(one.spans) == 1, false
}

func isJSONSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// asParseError gives the splitter's errors their status.
func asParseError(err error) error {
	if _, ok := errors.AsType[*httpapi.Error](err); ok {
		return err
	}
	return httpapi.Errorf(http.StatusBadRequest, "JSON parse error - %v", err)
}

// notAllowed answers a wrong method, after the check of the token.
func (h *Handler) notAllowed(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.tokens.AuthenticateSender(r.Context(), auth.TokenSecret(r)); err != nil {
		return err
	}
	w.Header().Set("Allow", "POST, OPTIONS")
	return httpapi.Errorf(http.StatusMethodNotAllowed, "Method %q not allowed.", r.Method)
}
