package ingest

import (
	"fmt"
	"net/http"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
)

// The replaced system's agent asks for commands every few seconds. This server
// has none to give yet, and says so as that system did.

// pollCommands answers that no command is waiting.
func (h *Handler) pollCommands(w http.ResponseWriter, r *http.Request) error {
	from, err := h.authenticate(r.Context(), auth.Secret(r))
	if err != nil {
		return err
	}
	agent := r.Header.Get("X-Agent-ID")
	if agent == "" {
		return httpapi.JSON(w, http.StatusBadRequest, map[string]string{"error": "X-Agent-ID header required"})
	}
	if from.Kind == auth.KindAgent && agent != from.Subject {
		return fmt.Errorf("poll as agent %q with the token of %s: %w", agent, from, auth.ErrForbidden)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// commandResult answers that there is no such command, whatever its name.
func (h *Handler) commandResult(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.authenticate(r.Context(), auth.Secret(r)); err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusNotFound, map[string]string{"error": "Command not found"})
}
