package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/auth"
)

// TrustProxies makes requests that come through one of the given proxies those of
// the client behind it: its address is the last one in X-Forwarded-For that is no
// trusted proxy, and IsTLS believes X-Forwarded-Proto. Anybody else's headers are
// ignored.
func TrustProxies(h http.Handler, proxies []netip.Prefix) http.Handler {
	if len(proxies) == 0 {
		return h
	}
	trusted := func(ip netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip.Unmap().WithZone("")) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ip, err := netip.ParseAddr(auth.ClientIP(r)); err == nil && trusted(ip) {
			ctx := r.Context()
			if strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
				ctx = context.WithValue(ctx, forwardedTLSKey{}, true)
			}
			r = r.WithContext(ctx)
			if client, ok := forwardedFor(r, trusted); ok {
				r.RemoteAddr = net.JoinHostPort(client.String(), "0")
			}
		}
		h.ServeHTTP(w, r)
	})
}

type forwardedTLSKey struct{}

// forwardedFor returns the last address in X-Forwarded-For that is not trusted. A
// part that is no address ends the search, because nobody trusted wrote it.
func forwardedFor(r *http.Request, trusted func(netip.Addr) bool) (client netip.Addr, ok bool) {
	parts := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, part := range slices.Backward(parts) {
		ip, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			break
		}
		client, ok = ip.Unmap(), true
		if !trusted(ip) {
			break
		}
	}
	return client, ok
}

// IsTLS reports whether the client speaks TLS, to this server or to a trusted
// proxy.
func IsTLS(r *http.Request) bool {
	forwarded, _ := r.Context().Value(forwardedTLSKey{}).(bool)
	return r.TLS != nil || forwarded
}

// StrictTransport tells clients that came over TLS to use nothing else for a year
// (RFC 6797).
func StrictTransport(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if IsTLS(r) {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		h.ServeHTTP(w, r)
	})
}
