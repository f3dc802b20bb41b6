package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

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
	reader := h.readers.Get().(*shape.Reader)
	defer h.readers.Put(reader)
	for _, sp := range s.spans {
		raw := body[sp.start:sp.end]
		if errs := b.add(reader, bytes.TrimSpace(raw), hint{}); errs != nil && s.array {
			// An array is one JSON text: one that is broken anywhere is
			// refused whole, as any reader of JSON would.
			if msg, ok := syntaxOnly(reader, raw); ok {
				return detailf(http.StatusBadRequest, "JSON parse error - %s in event %d", msg, b.seen-1)
			}
		}
	}
	single := !s.array && !s.lines && len(s.spans) == 1
	if single && len(b.rejected) == 1 {
		if msg, ok := syntaxOnly(reader, body); ok {
			return detailf(http.StatusBadRequest, "JSON parse error - %s", msg)
		}
	}
	legacy := isLegacy(r)
	if legacy {
		h.extendDeadline(w)
	}
	dropped, err := b.send(r.Context(), legacy)
	if err != nil {
		return err
	}
	return b.answer(w, single, dropped)
}

// answer tells the sender what became of its events.
func (b *builder) answer(w http.ResponseWriter, single, dropped bool) error {
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
		return httpapi.JSON(w, http.StatusBadRequest, answer)
	}
	answer := accepted{Status: "accepted", BatchSize: b.seen, Failed: len(b.rejected)}
	if dropped {
		n, answer.Failed = 0, b.seen
	}
	answer.Message = fmt.Sprintf("Queued %d events for processing", n)
	if single && n > 0 {
		answer.EventID = b.batch.Events[0].ID
	}
	for _, rej := range b.rejected {
		answer.Errors = append(answer.Errors, indexedError{rej.index, rej.id, rej.errs.String(), rej.errs})
	}
	return httpapi.JSON(w, http.StatusCreated, answer)
}

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
	return false, detailf(http.StatusUnsupportedMediaType, "Unsupported media type %q in request.", ct)
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

// syntaxOnly reports whether an event was refused for not being JSON at all,
// and where that shows, rather than for being JSON that picket won't take.
func syntaxOnly(r *shape.Reader, raw []byte) (string, bool) {
	if json.Valid(raw) {
		return "", false
	}
	if _, err := r.Read(bytes.TrimSpace(raw)); err != nil {
		return err.Error(), true
	}
	return "malformed", true
}

// A detail is an error in the words of the replaced system's framework.
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

func notAllowed(_ http.ResponseWriter, r *http.Request) error {
	return detailf(http.StatusMethodNotAllowed, "Method %q not allowed.", r.Method)
}

// writeDetail answers an error as the replaced system's framework does:
// {"detail": …}, with its words for missing and wrong tokens.
func writeDetail(w http.ResponseWriter, r *http.Request, err error) {
	httpapi.SetErrorHeaders(w, err)
	text := httpapi.Message(err)
	if errors.Is(err, auth.ErrUnauthenticated) {
		text = "Invalid token."
		if auth.Secret(r) == "" {
			text = "Authentication credentials were not provided."
		}
	}
	if httpapi.Status(err) == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "POST, OPTIONS")
	}
	httpapi.JSON(w, httpapi.Status(err), map[string]string{"detail": text})
}
