package auth

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// SessionCookieName is the name of the session's cookie.
const SessionCookieName = "picket_session"

// TokenSecret returns the token in a request's Authorization header, "" if there is
// none. The schemes are "Token" (legacy agents), "Bearer", and those of
// Elasticsearch clients: "ApiKey", with the token as second part of the key, and
// "Basic", with the token as password.
func TokenSecret(r *http.Request) string {
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToLower(scheme) {
	case "token", "bearer":
		return rest
	case "basic", "apikey":
		// A token may also be the whole key. Hex is valid base64, but too short
		// for a name and a token.
		if _, err := hex.DecodeString(rest); err == nil && len(rest) == 2*secretBytes {
			return rest
		}
		plain, err := base64.StdEncoding.DecodeString(rest)
		if _, secret, ok := strings.Cut(string(plain), ":"); ok && err == nil {
			return secret
		}
		return rest
	}
	return ""
}

// SessionSecret returns the session secret of a request, or "".
func SessionSecret(r *http.Request) string {
	c, err := r.Cookie(SessionCookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

// Identify returns who is asking for data: a program by its API token, or a
// person by the console's session.
func Identify(r *http.Request, tokens *TokenVerifier, sessions *Sessions) (Identity, error) {
	secret := TokenSecret(r)
	if secret == "" {
		return sessions.Identify(r)
	}
	id, err := tokens.Authenticate(r.Context(), secret)
	if err == nil && id.Kind != KindAPI {
		err = fmt.Errorf("a token of kind %s only sends events; this needs one of kind api: %w", id.Kind, ErrForbidden)
	}
	return id, err
}

// ClientIP returns the address of the client, which httpapi.TrustProxies corrects
// behind a proxy.
func ClientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
