package main

import (
	"context"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/web"
)

// crossOrigin rejects state-changing requests that a browser sends on behalf of
// another site (CSRF), because browsers attach the session's cookie to them.
func crossOrigin(h http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpapi.WriteError(w, r, httpapi.Errorf(http.StatusForbidden, "a browser sent this request from a page of another site"))
	}))
	return protection.Handler(h)
}

// serveRoot serves /: senders with a token get the answer of Elasticsearch, and
// browsers are redirected to the console.
func (s *server) serveRoot(w http.ResponseWriter, r *http.Request) error {
	if auth.TokenSecret(r) == "" && r.Method == http.MethodGet {
		http.Redirect(w, r, web.Home, http.StatusFound)
		return nil
	}
	if err := s.intake.Root(w, r); err != nil {
		ingest.WriteElastic(w, r, err)
	}
	return nil
}

// addHealthRoutes adds the paths of probes and Prometheus.
func (s *server) addHealthRoutes(mux *httpapi.Mux) {
	mux.Handle("GET /healthz", func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": version})
	}, httpapi.WriteError)
	mux.Handle("GET /readyz", s.serveReadiness, writeNotReady)
	mux.Handle("GET /metrics", s.serveMetrics, httpapi.WriteError)
}

// servePprof serves net/http/pprof until ctx ends.
func servePprof(ctx context.Context, addr string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// localURL returns the base URL at which this machine reaches its own server.
func localURL(base string) string {
	return strings.Replace(strings.Replace(base, "0.0.0.0", "127.0.0.1", 1), "[::]", "127.0.0.1", 1)
}
