package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
)

func TestTrustProxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for _, c := range []struct {
		from, forwarded, proto string
		client                 string
		tls                    bool
	}{
		{"192.0.2.9:1", "198.51.100.1", "https", "192.0.2.9", false},
		{"10.1.1.1:1", "198.51.100.1", "https", "198.51.100.1", true},
		{"10.1.1.1:1", "198.51.100.1", "http", "198.51.100.1", false},
		{"10.1.1.1:1", "203.0.113.5, 198.51.100.1, 10.2.2.2", "", "198.51.100.1", false},
		{"10.1.1.1:1", "10.3.3.3, 10.2.2.2", "", "10.3.3.3", false},
		{"10.1.1.1:1", "203.0.113.5, junk", "", "10.1.1.1", false},
		{"10.1.1.1:1", "203.0.113.5, junk, 10.2.2.2", "", "10.2.2.2", false},
		{"10.1.1.1:1", "", "", "10.1.1.1", false},
		{"[2001:db8::1]:1", "2001:4860::1", "HTTPS", "2001:4860::1", true},
		{"[::ffff:10.1.1.1]:1", "198.51.100.1", "", "198.51.100.1", false},
		{"@", "198.51.100.1", "https", "@", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.from
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		r.Header.Set("X-Forwarded-Proto", c.proto)
		w := httptest.NewRecorder()
		httpapi.TrustProxies(httpapi.StrictTransport(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got := auth.ClientIP(r); got != c.client || httpapi.IsTLS(r) != c.tls {
				t.Errorf("%+v: client %s, TLS %t", c, got, httpapi.IsTLS(r))
			}
		})), proxies).ServeHTTP(w, r)
		if sent := w.Header().Get("Strict-Transport-Security") != ""; sent != c.tls {
			t.Errorf("%+v: Strict-Transport-Security sent: %t", c, sent)
		}
	}
}
