package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/normalize"
)

// nodeInvalid answers that osquery must enroll again. The status is 200, because
// osquery ignores the body of others (docs/wiki/deployment/remote.md of osquery).
func nodeInvalid(w http.ResponseWriter) error {
	return httpapi.JSON(w, http.StatusOK, map[string]bool{"node_invalid": true})
}

// osqueryEnroll accepts a collector's or an agent's token as enroll secret, and
// returns it as node key: the token identifies the sender.
func (h *Handler) osqueryEnroll(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Secret string `json:"enroll_secret"`
	}
	if err := httpapi.ReadJSON(w, r, &req); err != nil {
		return err
	}
	_, err := h.tokens.CheckSender(r.Context(), req.Secret)
	if isAuthError(err) {
		return nodeInvalid(w)
	}
	if err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusOK, map[string]any{"node_key": req.Secret, "node_invalid": false})
}

// isAuthError reports whether the credentials are the reason for an error.
func isAuthError(err error) bool {
	return errors.Is(err, auth.ErrUnauthenticated) || errors.Is(err, auth.ErrForbidden)
}

// osqueryLog accepts the posts of osquery's TLS logger: result rows or status lines
// in an envelope. Each row is an event.
func (h *Handler) osqueryLog(w http.ResponseWriter, r *http.Request) error {
	// The node key is in the body, where osquery puts it first. It is checked
	// after the first chunk, so that unauthenticated bodies cannot take more
	// memory than that.
	var from auth.Identity
	known := false
	identify := func(start []byte) (err error) {
		secret := auth.Secret(r)
		if secret == "" {
			secret = nodeKey(start)
		}
		from, err = h.tokens.CheckSender(r.Context(), secret)
		known = err == nil
		return err
	}
	body, release, err := h.bodies.read(w, r, func(body []byte) error {
		if !known && len(body) >= chunk {
			return identify(body)
		}
		return nil
	})
	if err == nil {
		defer release()
		if !known {
			err = identify(body)
		}
	}
	switch {
	case isAuthError(err) && (body == nil || json.Valid(body)):
		return nodeInvalid(w)
	case isAuthError(err):
		return fmt.Errorf("read the log of osquery: not JSON: %w", picket.ErrInvalid)
	case err != nil:
		return err
	}
	logType, rows, err := osqueryRows(body, h.opt.MaxEvents)
	if err != nil {
		return err
	}
	b := h.newBatchBuilder(from)
	if err := h.readers.use(r.Context(), func(reader *normalize.Reader) error {
		for i, row := range rows {
			if len(row) > h.opt.MaxEventBytes {
				return httpapi.Errorf(http.StatusRequestEntityTooLarge, "event %d is larger than %d bytes", i, h.opt.MaxEventBytes)
			}
			b.add(reader, bytes.TrimSpace(row), requestDefaults{typ: "osquery_" + logType, anyType: true})
		}
		return nil
	}); err != nil {
		return err
	}
	if err := b.send(r.Context(), release); err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusOK, struct{}{})
}

// nodeKey returns the node key at the start of a body, "" if there is none.
func nodeKey(start []byte) string {
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
		var key string
		if name == "node_key" && json.Unmarshal(value, &key) == nil {
			return key
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
					return "", nil, tooMany(most)
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
