package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/normalize"
)

// writeNodeInvalid answers that osquery must enroll again. The status is 200, because
// osquery ignores the body of others (docs/wiki/deployment/remote.md of osquery).
func writeNodeInvalid(w http.ResponseWriter) error {
	return httpapi.WriteJSON(w, http.StatusOK, map[string]bool{"node_invalid": true})
}

// osqueryEnroll accepts a collector's or an agent's token as enroll secret, and
// returns it as node key: the token identifies the sender.
func (h *Handler) osqueryEnroll(w http.ResponseWriter, r *http.Request) error {
	_, secret, err := h.osquerySender(w, r, "enroll_secret")
	if isAuthError(err) {
		return writeNodeInvalid(w)
	}
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"node_key": secret, "node_invalid": false})
}

// isAuthError reports whether the credentials are the reason for an error.
func isAuthError(err error) bool {
	return errors.Is(err, auth.ErrUnauthenticated) || errors.Is(err, auth.ErrForbidden)
}

// osquerySender authenticates a request of osquery by its Authorization header, or
// by a field of its body, which must be among the first bytes.
func (h *Handler) osquerySender(w http.ResponseWriter, r *http.Request, field string) (from auth.Identity, secret string, err error) {
	if secret = auth.TokenSecret(r); secret == "" {
		start, complete, err := httpapi.ReadUnauthenticatedStart(w, r)
		if err != nil {
			return auth.Identity{}, "", err
		}
		if strings.EqualFold(r.Header.Get("Content-Encoding"), "zstd") { // its decoders take megabytes
			return auth.Identity{}, "", httpapi.Errorf(http.StatusUnsupportedMediaType, "zstd is only for requests with an Authorization header; use gzip")
		}
		plain, err := h.bodies.decompressStart(r, start)
		if err != nil {
			return auth.Identity{}, "", err
		}
		if complete && len(plain) < httpapi.MaxUnauthenticatedBytes && !json.Valid(plain) {
			return auth.Identity{}, "", fmt.Errorf("read the request of osquery: not JSON: %w", picket.ErrInvalid)
		}
		secret = firstStringField(plain, field)
	}
	from, err = h.tokens.AuthenticateSender(r.Context(), secret)
	return from, secret, err
}

// osqueryLog accepts the posts of osquery's TLS logger: result rows or status lines
// in an envelope. Each row is an event.
func (h *Handler) osqueryLog(w http.ResponseWriter, r *http.Request) error {
	from, _, err := h.osquerySender(w, r, "node_key")
	if isAuthError(err) {
		h.refused.count(err)
		return writeNodeInvalid(w)
	}
	if err != nil {
		return err
	}
	body, release, err := h.bodies.read(w, r, from.String(), func(body []byte) ([]byte, error) { return body, nil })
	if err != nil {
		return err
	}
	defer release()
	logType, rows, err := osqueryRows(body, h.opt.MaxEvents)
	if err != nil {
		return err
	}
	b := h.newBatchBuilder(from)
	if err := h.readers.use(r.Context(), from.String(), func(reader *normalize.Reader) error {
		for _, row := range rows {
			defaults := requestDefaults{typ: "osquery_" + logType, anyType: true}
			if len(row) > h.opt.MaxEventBytes {
				b.rejectOversize(row, len(row), defaults)
				continue
			}
			b.addEvent(reader, bytes.TrimSpace(row), defaults)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := b.enqueue(r.Context(), release); err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, struct{}{})
}

// firstStringField returns a field at the start of a JSON object, "" if it is not
// there.
func firstStringField(start []byte, field string) string {
	d := json.NewDecoder(bytes.NewReader(start))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return ""
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return ""
		}
		var text string
		if name == field && json.Unmarshal(value, &text) == nil {
			return text
		}
	}
	return ""
}

// osqueryRows parses the envelope. It stops past most rows, because a small body
// can hold very many.
func osqueryRows(body []byte, most int) (logType string, rows []json.RawMessage, err error) {
	fail := func(err error) (string, []json.RawMessage, error) {
		return "", nil, fmt.Errorf("read the log of osquery: %w: %w", err, picket.ErrInvalid)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fail(errNotObjectOrArray)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fail(err)
		}
		switch name {
		case "log_type":
			err = d.Decode(&logType)
		case "data":
			if t, err := d.Token(); err != nil || t != json.Delim('[') {
				return fail(errors.New("data is no array"))
			}
			for d.More() {
				if len(rows) == most {
					return "", nil, tooManyEventsError(most)
				}
				var row json.RawMessage
				if err := d.Decode(&row); err != nil {
					return fail(err)
				}
				rows = append(rows, row)
			}
			_, err = d.Token()
		default:
			var skip json.RawMessage
			err = d.Decode(&skip)
		}
		if err != nil {
			return fail(err)
		}
	}
	if _, err := d.Token(); err != nil {
		return fail(err)
	}
	return logType, rows, nil
}
