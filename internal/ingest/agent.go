package ingest

import (
	"net/http"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
)

// echoedBatchHeader is how an agent names the batch of a request. The answer repeats it,
// whatever the status, so that the agent does not take the answer of another program, or
// one to another batch, for picket's.
const echoedBatchHeader = "X-Picket-Batch"

// maxEchoedBatchBytes bounds what is repeated.
const maxEchoedBatchBytes = 128

// echoBatchHeader makes the answers of next name the request's batch.
func echoBatchHeader(next httpapi.Handler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if batch := r.Header.Get(echoedBatchHeader); batch != "" && len(batch) <= maxEchoedBatchBytes {
			w.Header().Set(echoedBatchHeader, batch)
		}
		return next(w, r)
	}
}

// describeToken answers GET /api/v1/token: for whom the token of the request posts
// telemetry.
func (h *Handler) describeToken(w http.ResponseWriter, r *http.Request) error {
	id, err := h.tokens.AuthenticateSender(r.Context(), auth.TokenSecret(r))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
		Host string `json:"host"`
	}{id.Kind, id.Subject, id.Host})
}
