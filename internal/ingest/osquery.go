package ingest

import (
	"bytes"
	"cmp"
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
	secret, err := h.secretInBody(w, r, "enroll_secret", true)
	if err != nil {
		return err
	}
	secret = cmp.Or(auth.TokenSecret(r), secret)
	if _, err = h.tokens.AuthenticateSender(r.Context(), secret); isAuthError(err) {
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

// secretInBody returns a field of the body of a request that is not authenticated. The
// field must be among the first bytes; "" if it is not there, which is an error if it is
// required and these are the whole body.
func (h *Handler) secretInBody(w http.ResponseWriter, r *http.Request, field string, required bool) (string, error) {
	start, complete, err := httpapi.ReadUnauthenticatedStart(w, r)
	if err != nil {
		return "", err
	}
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "zstd") { // its decoders take megabytes
		return "", httpapi.Errorf(http.StatusUnsupportedMediaType, "zstd is only for logs with an Authorization header; use gzip")
	}
	plain, err := h.bodies.decompressPrefix(r, start)
	if err != nil {
		return "", err
	}
	complete = complete && len(plain) < httpapi.MaxUnauthenticatedBytes
	if complete && !json.Valid(plain) {
		return "", fmt.Errorf("read the request of osquery: not JSON: %w", picket.ErrInvalid)
	}
	secret, found, err := firstStringField(plain, field)
	if err == nil && complete && required && !found {
		err = fmt.Errorf("%s is missing", field)
	}
	if err != nil {
		return "", fmt.Errorf("read the request of osquery: %w: %w", err, picket.ErrInvalid)
	}
	return secret, nil
}

// osqueryLogSender authenticates a log by the Authorization header or the node key.
func (h *Handler) osqueryLogSender(w http.ResponseWriter, r *http.Request) (from auth.Identity, err error) {
	secret := auth.TokenSecret(r)
	if secret == "" {
		if secret, err = h.secretInBody(w, r, "node_key", false); err != nil {
			return from, err
		}
	}
	return h.tokens.AuthenticateSender(r.Context(), secret)
}

// osqueryLog accepts the posts of osquery's TLS logger: result rows or status lines
// in an envelope. Each row is an event.
func (h *Handler) osqueryLog(w http.ResponseWriter, r *http.Request) error {
	from, err := h.osqueryLogSender(w, r)
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

// firstStringField returns a field at the start of a JSON object, and whether it is there.
// It is an error if the field is not a string.
func firstStringField(start []byte, field string) (text string, found bool, err error) {
	d := json.NewDecoder(bytes.NewReader(start))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", false, nil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return "", false, nil
		}
		if name == field {
			text, err := decodeString(d, field)
			return text, true, err
		}
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return "", false, nil
		}
	}
	return "", false, nil
}

// decodeString reads a string, the value of a field.
func decodeString(d *json.Decoder, field string) (string, error) {
	var text *string
	if err := d.Decode(&text); err != nil || text == nil {
		return "", fmt.Errorf("%s is no string", field)
	}
	return *text, nil
}

// osqueryRows parses the envelope. It stops past maxRows rows, because a small body
// can hold very many.
func osqueryRows(body []byte, maxRows int) (logType string, rows []json.RawMessage, err error) {
	fail := func(err error) (string, []json.RawMessage, error) {
		return "", nil, fmt.Errorf("read the log of osquery: %w: %w", err, picket.ErrInvalid)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fail(errors.New("not an object"))
	}
	hasData := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fail(err)
		}
		switch name {
		case "log_type":
			logType, err = decodeString(d, "log_type")
		case "node_key":
			_, err = decodeString(d, "node_key")
		case "data":
			hasData = true
			if t, err := d.Token(); err != nil || t != json.Delim('[') {
				return fail(errors.New("data is no array"))
			}
			for d.More() {
				if len(rows) == maxRows {
					return "", nil, tooManyEventsError(maxRows)
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
	if !hasData {
		return fail(errors.New("data is missing"))
	}
	return logType, rows, nil
}
