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
	"github.com/picket-edr/picket/internal/shape"
)

// nodeInvalid tells osquery to enroll anew. Its answers are always 200: it
// reads nothing else (docs/wiki/deployment/remote.md of osquery).
func nodeInvalid(w http.ResponseWriter) error {
	return httpapi.JSON(w, http.StatusOK, map[string]bool{"node_invalid": true})
}

// osqueryEnroll takes a collector's or an agent's token as enroll secret and
// gives it back as node key: the token is what identifies the sender.
func (h *Handler) osqueryEnroll(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Secret string `json:"enroll_secret"`
	}
	if err := httpapi.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if _, err := h.authenticate(r.Context(), req.Secret); err != nil {
		if httpapi.Status(err) >= http.StatusInternalServerError {
			return err
		}
		return nodeInvalid(w)
	}
	return httpapi.JSON(w, http.StatusOK, map[string]any{"node_key": req.Secret, "node_invalid": false})
}

// osqueryLog takes what osquery's TLS logger posts: rows of results, or its
// own status lines, in an envelope. Each row is an event.
func (h *Handler) osqueryLog(w http.ResponseWriter, r *http.Request) error {
	body, release, err := h.bodies.read(w, r, func([]byte) error { return nil })
	if err != nil {
		return err
	}
	defer release()
	var req struct {
		NodeKey string            `json:"node_key"`
		LogType string            `json:"log_type"`
		Data    []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return fmt.Errorf("read the log of osquery: %v: %w", err, picket.ErrInvalid)
	}
	secret := auth.Secret(r)
	if secret == "" {
		secret = req.NodeKey
	}
	from, err := h.authenticate(r.Context(), secret)
	if errors.Is(err, auth.ErrUnauthenticated) || errors.Is(err, auth.ErrForbidden) {
		return nodeInvalid(w)
	}
	if err != nil {
		return err
	}
	if len(req.Data) > h.opt.MaxEvents {
		return tooMany(h.opt.MaxEvents)
	}
	b := h.newBuilder(from)
	reader := h.readers.Get().(*shape.Reader)
	defer h.readers.Put(reader)
	for i, row := range req.Data {
		if len(row) > h.opt.MaxEvent {
			return httpapi.Errorf(http.StatusRequestEntityTooLarge, "event %d is larger than %d bytes", i, h.opt.MaxEvent)
		}
		b.add(reader, bytes.TrimSpace(row), hint{typ: "osquery_" + req.LogType, anyType: true})
	}
	if b.seen > 0 {
		if _, err := b.send(r.Context(), false); err != nil {
			return err
		}
	}
	return httpapi.JSON(w, http.StatusOK, struct{}{})
}
