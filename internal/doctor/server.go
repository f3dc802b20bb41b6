package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket"
)

// A Server is the server to check.
type Server struct {
	URL    string // its base URL
	Token  string // an agent's or collector's token to try; "": none
	Client *http.Client
}

// Check checks the port, the clock and the token.
func (s *Server) Check(ctx context.Context, r *Report) {
	s.checkReady(ctx, r)
	s.checkClock(ctx, r)
	if s.Token != "" {
		s.checkToken(ctx, r)
	}
}

// address returns the host and port of the server, and what it is asked with.
func (s *Server) address() (address, scheme string, err error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", "", err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port), u.Scheme, nil
}

// checkReady checks that the program that listens is a picket server that is ready.
func (s *Server) checkReady(ctx context.Context, r *Report) {
	address, scheme, err := s.address()
	if err != nil {
		r.addFailure("port", "a URL is as in https://picket.example.org:8000", "%v", err)
		return
	}
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		r.addFailure("port", "start it with picket serve", "no server answers at %s", address)
		return
	}
	conn.Close()
	body, _, err := s.get(ctx, "/healthz")
	switch _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); {
	case untrusted:
		r.addFailure("port", "give --ca-file the certificates that sign the server's", "%v", err)
		return
	case scheme == "http" && strings.Contains(body, "HTTP request to an HTTPS server"):
		r.addFailure("port", "give --server https://"+address+", and --ca-file if its certificate is of a CA of your own", "the server at %s speaks TLS, and was asked without", address)
		return
	case err != nil && strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		r.addFailure("port", "give --server http://"+address, "the server at %s speaks no TLS, and was asked with it", address)
		return
	case err != nil || !strings.Contains(body, `"status":"ok"`):
		r.addFailure("port", "give picket serve --listen another address", "%s belongs to another program", address)
		return
	}
	body, _, err = s.get(ctx, "/readyz")
	notes := partsNotOK(body)
	switch {
	case err != nil:
		r.addFailure("port", "", "the server is not ready: %s", cmp.Or(notes, strings.TrimSpace(body), err.Error()))
	case notes != "":
		r.addWarning("port", "", "the server at %s is ready, but %s", s.URL, notes)
	default:
		r.addOK("port", "the server at %s is ready", s.URL)
	}
}

// partsNotOK returns what an answer of /readyz says about parts that are not just ok.
func partsNotOK(readyzBody string) string {
	var parts map[string]string
	if json.Unmarshal([]byte(readyzBody), &parts) != nil {
		return ""
	}
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if parts[name] != "ok" {
			notes = append(notes, name+": "+parts[name])
		}
	}
	return strings.Join(notes, "; ")
}

// get returns the body and header of a path of the server.
func (s *Server) get(ctx context.Context, path string) (body string, header http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return "", nil, err
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %w", resp.Status, picket.ErrUnavailable)
	}
	return string(content), resp.Header, err
}

// checkClock compares this machine's clock with the server's.
func (s *Server) checkClock(ctx context.Context, r *Report) {
	_, h, err := s.get(ctx, "/healthz")
	if err != nil {
		return // reported by checkReady
	}
	there, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	off := time.Since(there).Abs()
	if off > 5*time.Second {
		r.addFailure("clock", "set both by NTP: times of events are the sender's", "the server's clock is off by %s", off.Round(time.Second))
		return
	}
	r.addOK("clock", "agrees with the server's")
}

// checkToken posts an empty array, which changes nothing.
func (s *Server) checkToken(ctx context.Context, r *Report) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/api/v1/telemetry/", strings.NewReader("[]"))
	if err != nil {
		r.addFailure("token", "", "%v", err)
		return
	}
	req.Header.Set("Authorization", "Token "+s.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.Client.Do(req)
	if err != nil {
		return // reported by checkReady
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusCreated:
		r.addOK("token", "may post telemetry")
	case http.StatusUnauthorized:
		r.addFailure("token", "picket token list shows the tokens; picket token create makes another", "the server does not know it, or it is revoked")
	case http.StatusForbidden:
		r.addFailure("token", "post with one made by --agent or --collector", "it may not post telemetry")
	default:
		r.addFailure("token", "", "the server answered %s", resp.Status)
	}
}
