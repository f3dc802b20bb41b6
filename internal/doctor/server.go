package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/picket-edr/picket"
)

// A Server is the server to check.
type Server struct {
	Listen string // its address
	URL    string // its base URL
	Token  string // an agent's or collector's token to try; "": none
	Client *http.Client
}

// Check checks the port, the clock and the token.
func (s *Server) Check(ctx context.Context, r *Report) {
	s.checkPort(ctx, r)
	s.checkClock(ctx, r)
	if s.Token != "" {
		s.checkToken(ctx, r)
	}
}

// checkPort checks that the program that listens is a picket server that is ready.
func (s *Server) checkPort(ctx context.Context, r *Report) {
	conn, err := net.DialTimeout("tcp", s.Listen, 2*time.Second)
	if err != nil {
		r.addFailure("port", "start it with picket serve", "no server answers at %s", s.Listen)
		return
	}
	conn.Close()
	body, _, err := s.get(ctx, "/healthz")
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		r.addFailure("port", "give --ca-file the certificates that sign the server's", "%v", err)
		return
	}
	if err != nil || !strings.Contains(body, `"status":"ok"`) {
		r.addFailure("port", "give picket serve --listen another address", "%s belongs to another program", s.Listen)
		return
	}
	if body, _, err = s.get(ctx, "/readyz"); err != nil {
		r.addFailure("port", "", "the server is not ready: %s", strings.TrimSpace(body))
		return
	}
	r.addOK("port", "the server at %s is ready", s.URL)
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
		return // reported by checkPort
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
		return // reported by checkPort
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
