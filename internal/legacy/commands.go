package legacy

import (
	"fmt"
	"net/http"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
)

// NoCommandsHandler answers the polls of legacy agents, which ask for commands every few
// seconds. There never are any.
type NoCommandsHandler struct{ Tokens *auth.TokenVerifier }

// Routes adds the paths of the polls to mux.
func (c *NoCommandsHandler) Routes(mux *httpapi.Mux) {
	mux.Handle("GET /api/v1/commands/poll/{$}", c.answerNoCommand, WriteDetailError)
	mux.Handle("POST /api/v1/commands/result/{id}/{$}", c.answerNoSuchCommand, WriteDetailError)
}

// answerNoCommand answers that no command is waiting.
func (c *NoCommandsHandler) answerNoCommand(w http.ResponseWriter, r *http.Request) error {
	from, err := c.Tokens.AuthenticateSender(r.Context(), auth.TokenSecret(r))
	if err != nil {
		return err
	}
	agent := r.Header.Get("X-Agent-ID")
	if agent == "" {
		return httpapi.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": "X-Agent-ID header required"})
	}
	if from.Kind == auth.KindAgent && agent != from.Subject {
		return fmt.Errorf("poll as agent %q: the token is that of %s: %w", agent, from, auth.ErrForbidden)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// answerNoSuchCommand answers that there is no such command.
func (c *NoCommandsHandler) answerNoSuchCommand(w http.ResponseWriter, r *http.Request) error {
	if _, err := c.Tokens.AuthenticateSender(r.Context(), auth.TokenSecret(r)); err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusNotFound, map[string]string{"error": "Command not found"})
}
