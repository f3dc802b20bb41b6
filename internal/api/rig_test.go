package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/api"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/worker"
	"github.com/picket-edr/picket/sigma"
)

func TestMain(m *testing.M) {
	time.Local = time.FixedZone("", 2*3600) // the golden files have local times
	os.Exit(m.Run())
}

// now is the time of every test.
var now = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// A rig is the API and the intake over real engines, with a token of each kind
// and a session.
type rig struct {
	store *sqlitestore.Store
	queue *sqlitequeue.Queue
	work  *worker.Worker
	mux   *httpapi.Mux
	// The headers by which each kind shows who it is, by kind or role.
	who map[string][2]string
}

const testRule = `
title: <Whoami> é
id: 11111111-1111-1111-1111-111111111111
level: critical
tags: [attack.discovery, attack.t1033, cve.2026.1]
logsource: {category: process_creation, product: windows}
detection: {sel: {Image|endswith: '\whoami.exe'}, condition: sel}
`

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	q, err := sqlitequeue.Open(filepath.Join(dir, "queue.db"), sqlitequeue.Options{Logger: log})
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, q.Close()) })
	s, err := sqlitestore.Open(filepath.Join(dir, "store.db"), sqlitestore.Options{Logger: log})
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, s.Close()) })
	sources := []detect.Source{{Name: "test", FS: fstest.MapFS{"whoami.yml": {Data: []byte(testRule)}}}}
	rules, err := detect.NewLoader(sources, filepath.Join(dir, "off"), log)
	testenv.Check(t, err)

	clock := func() time.Time { return now }
	r := &rig{store: s, queue: q, mux: httpapi.NewMux(log), who: map[string][2]string{"nobody": {"X-Nothing", "x"}, "wrong": {"Authorization", "Token 0000"}}}
	tokens, sessions := auth.NewTokens(s, time.Now), auth.NewSessions(s, clock)
	in := ingest.New(q, tokens, ingest.Options{})
	in.Routes(r.mux)
	(&api.Server{Store: s, Queue: q, Rules: rules, Tokens: tokens, Sessions: sessions, Log: log, Now: clock}).Routes(r.mux)
	r.work = worker.New(q, func() worker.Detector { return rules.Engine().Detector() }, s, worker.Options{Concurrency: 1, Logger: log})

	token := func(name, kind, subject, role string) {
		tok, secret, err := auth.NewToken(kind, subject, role, now)
		testenv.Check(t, err)
		testenv.Check(t, s.AddToken(t.Context(), tok))
		r.who[name] = [2]string{"Authorization", "Token " + secret}
	}
	token("agent", auth.KindAgent, "PC1", "")
	token("collector", auth.KindCollector, "col", "")
	for _, role := range []string{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin} {
		token(role, auth.KindAPI, role+"-token", role)
	}
	hash, err := auth.HashPassword("correct horse battery")
	testenv.Check(t, err)
	testenv.Check(t, s.PutUser(t.Context(), store.User{Name: "ann", PasswordHash: hash, Role: auth.RoleViewer, Created: now}))
	secret, err := sessions.SignIn(t.Context(), "ann", "correct horse battery", "127.0.0.1")
	testenv.Check(t, err)
	r.who["session"] = [2]string{"Cookie", auth.CookieName + "=" + secret}
	return r
}

// do sends a request as somebody.
func (r *rig) do(who, method, path string, body io.Reader) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, body)
	req.Header.Set(r.who[who][0], r.who[who][1])
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, req)
	return w
}

// get is do with GET; what is not 200 fails the test. It reads the answer into v.
func (r *rig) get(t *testing.T, who, path string, v any) {
	t.Helper()
	w := r.do(who, "GET", path, nil)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, w.Body)
	}
}

// raw is an event as PC1 posts it, seconds after the first.
func raw(id string, seconds int, image string) string {
	return fmt.Sprintf(`{"agent_id":"PC1","event_id":%q,"event_type":"process","timestamp":%d,"severity":"high","version":"1.0",`+
		`"host":{"hostname":"PC1.corp","os":"Windows"},"process":{"name":%q,"pid":1,"command_line":"<x> é 😀"}}`, id, now.Unix()-3600+int64(seconds), image)
}

// ingest posts events and works the queue off.
func (r *rig) ingest(t *testing.T, events ...string) {
	t.Helper()
	w := r.do("agent", "POST", "/api/v1/telemetry/", strings.NewReader("["+strings.Join(events, ",")+"]"))
	if w.Code != http.StatusCreated {
		t.Fatal(w.Code, w.Body)
	}
	r.drain(t)
}

// drain works the queue off.
func (r *rig) drain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.work.Run(ctx) }()
	for {
		st, err := r.queue.Stats(t.Context())
		testenv.Check(t, err)
		if st.Pending+st.Leased == 0 {
			break
		}
	}
	cancel()
	testenv.Check(t, <-done)
}

// alerts lists the alerts, newest first.
func (r *rig) alerts(t *testing.T) []picket.Alert {
	t.Helper()
	page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
	testenv.Check(t, err)
	return page.Alerts
}

// saveAlerts makes n alerts, of agents A0, A1 and so on, the last the newest.
func (r *rig) saveAlerts(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		at := now.Add(time.Duration(i-n) * time.Minute)
		ev := picket.Event{ID: fmt.Sprint("s", i), AgentID: fmt.Sprint("A", i), Host: fmt.Sprint("h", i), Type: "t", Time: at, Received: at, Raw: []byte(`{}`)}
		m := picket.Match{ID: picket.MatchID("r", ev.ID), RuleID: "r", EventID: ev.ID, AgentID: ev.AgentID, Host: ev.Host, Time: at, Title: "T", Level: sigma.Low}
		_, err := r.store.Save(t.Context(), store.Batch{ID: ev.ID, Events: []picket.Event{ev}, Matches: []picket.Match{m}})
		testenv.Check(t, err)
	}
}
