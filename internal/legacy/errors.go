package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/picket-edr/picket/internal/auth"
)

// Detail returns what the replaced system's framework said of an error, under
// "detail": its own words for want of credentials, Message for the rest.
func Detail(r *http.Request, err error) string {
	if !errors.Is(err, auth.ErrUnauthenticated) {
		return Message(err)
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch rest = strings.TrimSpace(rest); {
	case strings.EqualFold(scheme, "token") && rest == "":
		return "Invalid token header. No credentials provided."
	case strings.EqualFold(scheme, "token") && strings.Contains(rest, " "):
		return "Invalid token header. Token string should not contain spaces."
	case auth.Secret(r) == "":
		return "Authentication credentials were not provided."
	}
	return "Invalid token."
}
