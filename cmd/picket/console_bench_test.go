package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/api"
	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/cache"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/storetest"
	"github.com/picket-edr/picket/internal/web"
	"github.com/picket-edr/picket/rules"
)

// BenchmarkConsole requests pages of the console and the API, without a cache and
// with one. PICKET_BENCH_ALERTS is the number of alerts, by default 5000, and
// PICKET_BENCH_STORE the store, by default SQLite.
func BenchmarkConsole(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("PICKET_BENCH_ALERTS"))
	if err != nil {
		n = 5000
	}
	location := &storeLocation{data: b.TempDir(), name: "sqlite"}
	if uri := os.Getenv("PICKET_BENCH_STORE"); uri != "" {
		location.name = uri
	}
	s, err := location.open(b.Context(), slog.New(slog.DiscardHandler), false)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	begin := time.Now()
	storetest.FillAlerts(b, s, n, begin.UTC())
	b.Logf("%d alerts filled in %s", n, time.Since(begin).Round(time.Second))
	for _, caching := range []string{"cold", "cached"} {
		get := newConsole(b, s, caching == "cached")
		for _, page := range []struct{ name, path string }{
			{"overview", "/console/"},
			{"alerts", "/console/alerts"},
			{"alerts-all", "/console/alerts?status=all"},
			{"alerts-investigating", "/console/alerts?status=investigating"},
			{"alerts-critical", "/console/alerts?level=critical"},
			{"alerts-resolved-low", "/console/alerts?status=resolved&level=low"},
			{"alerts-text", "/console/alerts?q=rule+77+is"},
			{"alerts-text-none", "/console/alerts?q=nowhere"},
			{"alerts-rule", "/console/alerts?rule=00000000-0000-4000-8000-000000000077"},
			{"hosts", "/console/hosts"},
			{"api-alerts", "/api/v1/alerts"},
			{"api-stats", "/api/v1/stats"},
			{"dashboard-stats", "/api/v1/dashboard/stats/"},
			{"dashboard-alerts", "/api/v1/dashboard/alerts/"},
		} {
			b.Run(page.name+"/"+caching, func(b *testing.B) {
				for b.Loop() {
					get(page.path)
				}
			})
		}
	}
}

// noCache is a cache that caches nothing.
type noCache struct{}

func (noCache) Get(ctx context.Context, _ string, _ time.Duration, fill func(context.Context) ([]byte, error)) ([]byte, error) {
	return fill(ctx)
}
func (noCache) Invalidate(context.Context, ...string) {}

// newConsole signs in to a server, and returns a function that requests a page.
func newConsole(b *testing.B, s store.Store, caching bool) (get func(path string)) {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	q, err := sqlitequeue.Open(filepath.Join(b.TempDir(), "queue.db"), sqlitequeue.Options{Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { q.Close() })
	loader, err := ruleset.NewLoader([]ruleset.Source{{Name: "builtin", FS: rules.FS}}, filepath.Join(b.TempDir(), "off"), log)
	if err != nil {
		b.Fatal(err)
	}
	const password = "correct horse battery"
	hash, err := auth.HashPassword(password)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.PutUser(b.Context(), store.User{Name: "bench", PasswordHash: hash, Role: auth.RoleAdmin, Created: time.Now()}); err != nil {
		b.Fatal(err)
	}
	var statistics cache.Cache = noCache{}
	if caching {
		// The clock stands still, so that entries do not expire.
		now := time.Now()
		statistics = cache.NewMemory(func() time.Time { return now })
	}
	cached, sessions := cache.NewCachedStore(s, statistics), auth.NewSessions(s, time.Now)
	mux := httpapi.NewMux(log)
	(&api.Server{Reads: httpapi.NewReadLimiter(time.Minute), Store: cached, Queue: q, Rules: loader, Tokens: auth.NewTokenVerifier(s, time.Now), Sessions: sessions, Now: time.Now}).Routes(mux)
	(&legacy.Dashboard{Reads: httpapi.NewReadLimiter(time.Minute), Store: cached, Rules: loader, Tokens: auth.NewTokenVerifier(s, time.Now), Sessions: sessions, Now: time.Now}).Routes(mux)
	(&web.Console{Reads: httpapi.NewReadLimiter(time.Minute), Store: cached, Queue: q, Rules: loader, Sessions: sessions, Audit: audit.NewRecorder(s, log, time.Now), Now: time.Now, Version: "bench",
		Dropped: func() (int64, int64) { return 0, 0 }}).Routes(mux)
	form := url.Values{"name": {"bench"}, "password": {password}}
	in := httptest.NewRequest(http.MethodPost, "/console/sign-in", strings.NewReader(form.Encode()))
	in.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, in)
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		b.Fatalf("sign in: %d %s", w.Code, w.Body)
	}
	return func(path string) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.AddCookie(cookies[0])
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatalf("GET %s: %d %.200s", path, w.Code, w.Body)
		}
	}
}
