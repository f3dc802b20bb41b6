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
	"github.com/picket-edr/picket/internal/shape"
)

// accepted is the answer to a request of which something was taken. The first
// four fields, and event_id for a single event, are the replaced system's.
type accepted struct {
	Status    string         `json:"status"`
	Message   string         `json:"message"`
	BatchSize int            `json:"batch_size"`
	Failed    int            `json:"failed"`
	EventID   string         `json:"event_id,omitempty"`
	Errors    []indexedError `json:"errors,omitempty"`
}

type indexedError struct {
	Index   int         `json:"index"`
	EventID string      `json:"event_id"`
	Reason  string      `json:"reason"`
	Errors  FieldErrors `json:"errors"`
}

// refused is the answer when nothing was taken.
type refused struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Errors  any    `json:"errors"` // FieldErrors; for an array one for each event, empty for the good
}

// telemetry takes one event, an array, or NDJSON.
func (h *Handler) telemetry(w http.ResponseWriter, r *http.Request) error {
	from, err := h.authenticate(r.Context(), auth.Secret(r))
	if err != nil {
		return err
	}
	lines, err := ndjson(r)
	if err != nil {
		return err
	}
	s := splitter{maxEvent: h.opt.MaxEvent, maxEvents: h.opt.MaxEvents, lines: lines, start: -1}
	unsure := !lines
	body, release, err := h.bodies.read(w, r, func(body []byte) error {
		if unsure {
			s.lines, unsure = looksLikeLines(body)
		}
		if unsure {
			if len(body) > h.opt.MaxEvent {
				return s.tooLarge()
			}
			return nil
		}
		return s.feed(body)
	})
	if err != nil {
		return asParseError(err)
	}
	defer release()
	if err := s.feed(body); err != nil {
		return asParseError(err)
	}
	if err := s.finish(body); err != nil {
		return asParseError(err)
	}

	b := h.newBuilder(from)
	b.batch.Events = make([]picket.Event, 0, len(s.spans))
	single := !s.array && !s.lines && len(s.spans) == 1
	if err := b.addSpans(body, s.spans, s.array || single); err != nil {
		return err
	}
	status, answer, err := b.answer(single)
	if err != nil {
		return err
	}
	if isLegacy(r) {
		h.extendDeadline(w)
		dropped, err := b.sendPatiently(r.Context(), release)
		if dropped {
			return httpapi.JSON(w, http.StatusCreated, accepted{Status: "accepted", Message: queued(0), BatchSize: b.seen, Failed: b.seen})
		}
		if err != nil {
			return err
		}
	} else if err := b.send(r.Context(), release); err != nil {
		return err
	}
	h.countDropped(r, from)
	return httpapi.Write(w, status, answer)
}

// droppedHeader is how an agent says how many events it has dropped since it
// last could, its spool being full.
const droppedHeader = "X-Picket-Dropped"

func (h *Handler) countDropped(r *http.Request, from auth.Identity) {
	n, err := strconv.ParseInt(r.Header.Get(droppedHeader), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt32 {
		return
	}
	h.Metrics.AgentDropped.Add(n)
	h.opt.Log.Warn("an agent's spool was full; it has dropped events", "agent", from.Subject, "events", n)
}

// addSpans adds the events of a body. Where the body is one JSON text, one
// that is broken anywhere is refused whole, as any reader of JSON would.
func (b *builder) addSpans(body []byte, spans []span, oneText bool) error {
	reader := b.h.readers.Get().(*shape.Reader)
	defer b.h.readers.Put(reader)
	for i, sp := range spans {
		raw := bytes.TrimSpace(body[sp.start:sp.end])
		if errs := b.add(reader, raw, hint{}); errs == nil || !oneText || json.Valid(raw) {
			continue
		}
		reason := "malformed"
		if _, err := reader.Read(raw); err != nil {
			reason = err.Error()
		}
		if len(spans) > 1 {
			reason += fmt.Sprintf(" of event %d", i)
		}
		return detailf(http.StatusBadRequest, "JSON parse error - %s", reason)
	}
	return nil
}

// answer makes what the sender is told of its events.
func (b *builder) answer(single bool) (status int, body []byte, err error) {
	n := len(b.batch.Events)
	if n == 0 && b.seen > 0 {
		answer := refused{Status: "error", Message: "Validation failed"}
		if single {
			answer.Errors = b.rejected[0].errs
		} else {
			errs := make([]FieldErrors, b.seen)
			for _, rej := range b.rejected {
				errs[rej.index] = rej.errs
			}
			answer.Errors = errs
		}
		body, err = httpapi.Marshal(answer)
		return http.StatusBadRequest, body, err
	}
	answer := accepted{Status: "accepted", Message: queued(n), BatchSize: b.seen, Failed: len(b.rejected)}
	if single {
		answer.EventID = b.batch.Events[0].ID
	}
	for _, rej := range b.rejected {
		answer.Errors = append(answer.Errors, indexedError{rej.index, rej.id, rej.errs.String(), rej.errs})
	}
	body, err = httpapi.Marshal(answer)
	return http.StatusCreated, body, err
}

func queued(n int) string { return fmt.Sprintf("Queued %d events for processing", n) }

// ndjson reports whether the request declares lines, and refuses what is no
// JSON. Without a Content-Type it is taken for JSON.
func ndjson(r *http.Request) (bool, error) {
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
	return false, detailf(http.StatusUnsupportedMediaType, `Unsupported media type "%s" in request.`, ct)
}

// looksLikeLines decides, from the start of a body declared as plain JSON,
// whether it is NDJSON: its first line is an object by itself and more
// follows. unsure asks for more of the body.
func looksLikeLines(body []byte) (lines, unsure bool) {
	rest := bytes.TrimLeft(body, " \t\r\n")
	if len(rest) == 0 {
		return false, true
	}
	if rest[0] != '{' {
		return false, false
	}
	line, more, found := bytes.Cut(rest, []byte("\n"))
	if !found || len(bytes.TrimSpace(more)) == 0 {
		return false, true
	}
	one := splitter{maxEvent: len(line) + 1, maxEvents: 1, start: -1}
	return one.feed(line) == nil && len(one.spans) == 1, false
}

// detailf makes an error in the words of the replaced system's framework.
func detailf(status int, format string, args ...any) error {
	return httpapi.Errorf(status, format, args...)
}

// asParseError gives what the splitter found wrong its status.
func asParseError(err error) error {
	if _, ok := errors.AsType[*httpapi.Error](err); ok {
		return err
	}
	return detailf(http.StatusBadRequest, "JSON parse error - %v", err)
}

// notAllowed refuses methods; as the replaced system did, only to those who
// have shown a token.
func (h *Handler) notAllowed(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.authenticate(r.Context(), auth.Secret(r)); err != nil {
		return err
	}
	w.Header().Set("Allow", "POST, OPTIONS")
	return detailf(http.StatusMethodNotAllowed, "Method %q not allowed.", r.Method)
}

// writeDetail answers an error as the replaced system's framework does:
// {"detail": …}, with its words for missing and wrong tokens.
func writeDetail(w http.ResponseWriter, r *http.Request, err error) {
	httpapi.SetErrorHeaders(w, err)
	httpapi.JSON(w, httpapi.Status(err), map[string]string{"detail": httpapi.Detail(r, err)})
}
