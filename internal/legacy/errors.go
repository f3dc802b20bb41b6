package legacy

import (
	"errors"
	"net/http"
	"strings"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
)

// WriteDetailError answers an error as Django REST framework does: {"detail": …},
// with its messages for missing and wrong tokens.
func WriteDetailError(w http.ResponseWriter, r *http.Request, err error) {
	httpapi.SetErrorHeaders(w, err)
	httpapi.WriteJSON(w, httpapi.StatusOf(err), map[string]string{"detail": djangoErrorDetail(r, err)})
}

// WriteTelemetryError answers an error of the path that legacy agents and others post
// telemetry to: as WriteDetailError, and as httpapi.WriteError.
func WriteTelemetryError(w http.ResponseWriter, r *http.Request, err error) {
	httpapi.SetErrorHeaders(w, err)
	text := djangoErrorDetail(r, err)
	httpapi.WriteJSON(w, httpapi.StatusOf(err), map[string]string{"detail": text, "error": text})
}

// WriteUnroutedError answers a request that no route takes. A wrong method on a path
// that ends in a slash, as all legacy paths do, gets Django REST framework's
// answer.
func WriteUnroutedError(w http.ResponseWriter, r *http.Request, err error) {
	if httpapi.StatusOf(err) == http.StatusMethodNotAllowed && strings.HasSuffix(r.URL.Path, "/") {
		WriteDetailError(w, r, err)
		return
	}
	httpapi.WriteError(w, r, err)
}

// djangoErrorDetail returns Django REST framework's message for an error.
func djangoErrorDetail(r *http.Request, err error) string {
	if !errors.Is(err, auth.ErrUnauthenticated) {
		return httpapi.ClientMessage(err)
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch rest = strings.TrimSpace(rest); {
	case strings.EqualFold(scheme, "token") && rest == "":
		return "Invalid token header. No credentials provided."
	case strings.EqualFold(scheme, "token") && strings.Contains(rest, " "):
		return "Invalid token header. Token string should not contain spaces."
	case auth.TokenSecret(r) == "":
		return "Authentication credentials were not provided."
	}
	return "Invalid token."
}
