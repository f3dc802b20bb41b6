// Package servertest provides a server without a network for tests of HTTP handlers:
// the intake, the APIs and the console over real engines.
package servertest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/api"
	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/triage"
	"github.com/picket-edr/picket/internal/web"
	"github.com/picket-edr/picket/internal/worker"
	"github.com/picket-edr/picket/sigma"
)

// Now is the time of the server, whose clock stands still.
var Now = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// A Server is the handlers of a server, with a token of each kind and a session.
type Server struct {
	Store       *sqlitestore.Store
	Queue       *sqlitequeue.Queue
	Rules       *ruleset.Loader
	Ingest      *ingest.Handler
	LegacyQueue *legacy.BlockingQueue
	Mux         *httpapi.Mux
	// Credentials are the header and value of each kind of caller: "agent" (of
	// PC1), "collector", "viewer", "analyst", "admin" (API tokens), "session" (of
	// the viewer ann), "anonymous" and "wrong".
	Credentials map[string][2]string

	worker   *worker.Worker
	sessions *auth.Sessions
}

// Options adapt a Server. Zero fields take the defaults of their packages.
type Options struct {
	Queue      sqlitequeue.Options
	Ingest     ingest.Options
	LegacyWait time.Duration // 1 minute
}

// RuleID is the id of the one rule that a Server runs. It matches processes
// named whoami.exe.
const RuleID = "11111111-1111-1111-1111-111111111111"

const rule = `
title: <Whoami> é
id: ` + RuleID + `
level: critical
tags: [attack.discovery, attack.t1033, cve.2026.1]
logsource: {category: process_creation, product: windows}
detection: {sel: {Image|endswith: '\whoami.exe'}, condition: sel}
`

// New returns a server over engines in a temporary directory.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	o.Queue.Logger = cmp.Or(o.Queue.Logger, log)
	q, err := sqlitequeue.Open(filepath.Join(dir, "queue.db"), o.Queue)
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, q.Close()) })
	s, err := sqlitestore.Open(filepath.Join(dir, "store.db"), sqlitestore.Options{Logger: log})
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, s.Close()) })
	sources := []ruleset.Source{{Name: "test", FS: fstest.MapFS{"whoami.yml": {Data: []byte(rule)}}}}
	rules, err := ruleset.NewLoader(sources, filepath.Join(dir, "off"), log)
	testenv.Check(t, err)

	clock := func() time.Time { return Now }
	tokens, sessions := auth.NewTokenVerifier(s, time.Now), auth.NewSessions(s, clock)
	recorder := audit.NewRecorder(s, log, clock)
	reads := httpapi.NewReadLimiter(time.Minute)
	decisions := &triage.Service{Alerts: s, Users: s, DeadLetters: q, Rules: rules, Audit: recorder, Now: clock}
	srv := &Server{Store: s, Queue: q, Rules: rules, Mux: httpapi.NewMux(log),
		Credentials: map[string][2]string{"anonymous": {"X-Nothing", "x"}, "wrong": {"Authorization", "Token 0000"}}}
	srv.LegacyQueue = legacy.NewBlockingQueue(q, cmp.Or(o.LegacyWait, time.Minute), log)
	o.Ingest.Validator, o.Ingest.WriteError, o.Ingest.WrapTelemetry = legacy.Validator{}, legacy.WriteTelemetryError, srv.LegacyQueue.HideFullQueue
	srv.Ingest = ingest.New(srv.LegacyQueue, tokens, o.Ingest)
	srv.Mux.WriteRefusal = legacy.WriteUnroutedError
	srv.Ingest.Routes(srv.Mux)
	(&api.Server{Reads: reads, Store: s, Queue: q, Rules: rules, Triage: decisions, Tokens: tokens, Sessions: sessions, Now: clock}).Routes(srv.Mux)
	(&legacy.Dashboard{Reads: reads, Store: s, Rules: rules, Triage: decisions, Tokens: tokens, Sessions: sessions, Now: clock}).Routes(srv.Mux)
	(&legacy.NoCommandsHandler{Tokens: tokens}).Routes(srv.Mux)
	(&web.Console{Reads: reads, Store: s, Queue: q, Rules: rules, Triage: decisions, Audit: recorder, Sessions: sessions, Now: clock, Version: "test",
		Dropped: func() (int64, int64) { return srv.LegacyQueue.DroppedEvents(), srv.Ingest.AgentDroppedEvents() }}).Routes(srv.Mux)
	srv.Mux.Handle("/{$}", srv.Ingest.Root, ingest.WriteElastic)
	srv.worker = worker.New(q, func() worker.Detector { return rules.Engine().NewDetector() }, s, worker.Options{Concurrency: 1, Logger: log})
	srv.sessions = sessions
	srv.addCredentials(t)
	return srv
}

func (s *Server) addCredentials(t testing.TB) {
	t.Helper()
	token := func(name, kind, subject, role string) {
		tok, secret, err := auth.NewToken(kind, subject, role, Now)
		testenv.Check(t, err)
		testenv.Check(t, s.Store.AddToken(t.Context(), tok))
		s.Credentials[name] = [2]string{"Authorization", "Token " + secret}
	}
	token("agent", auth.KindAgent, "PC1", "")
	token("collector", auth.KindCollector, "col", "")
	for _, role := range []string{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin} {
		token(role, auth.KindAPI, role+"-token", role)
	}
	s.Credentials["session"] = [2]string{"Cookie", auth.SessionCookieName + "=" + s.SignIn(t, "ann", auth.RoleViewer)}
}

// SignIn adds a user and returns the secret of a session.
func (s *Server) SignIn(t testing.TB, name, role string) string {
	t.Helper()
	const password = "correct horse battery"
	hash, err := auth.HashPassword(password)
	testenv.Check(t, err)
	testenv.Check(t, s.Store.PutUser(t.Context(), store.User{Name: name, PasswordHash: hash, Role: role, Created: Now}))
	secret, err := s.sessions.SignIn(t.Context(), name, password, "127.0.0.1")
	testenv.Check(t, err)
	return secret
}

// Do sends a request with the credentials of caller.
func (s *Server) Do(caller, method, path string, body io.Reader) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, body)
	req.Header.Set(s.Credentials[caller][0], s.Credentials[caller][1])
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.Mux.ServeHTTP(w, req)
	return w
}

// Get decodes the answer to a GET into v. Any status but 200 fails the test.
func (s *Server) Get(t testing.TB, caller, path string, v any) {
	t.Helper()
	w := s.Do(caller, "GET", path, nil)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, w.Body)
	}
}

// Event returns a process event of agent PC1, some seconds after the first.
func Event(id string, seconds int, image string) string {
	return fmt.Sprintf(`{"agent_id":"PC1","event_id":%q,"event_type":"process","timestamp":%d,"severity":"high","version":"1.0",`+
		`"host":{"hostname":"PC1.corp","os":"Windows"},"process":{"name":%q,"pid":1,"command_line":"<x> é 😀"}}`, id, Now.Unix()-3600+int64(seconds), image)
}

// PostAndProcess posts events as agent PC1 and processes them.
func (s *Server) PostAndProcess(t testing.TB, events ...string) {
	t.Helper()
	w := s.Do("agent", "POST", "/api/v1/telemetry/", strings.NewReader("["+strings.Join(events, ",")+"]"))
	if w.Code != http.StatusCreated {
		t.Fatal(w.Code, w.Body)
	}
	s.ProcessQueue(t)
}

// ProcessQueue runs the worker until the queue is empty.
func (s *Server) ProcessQueue(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.worker.Run(ctx) }()
	for {
		st, err := s.Queue.Stats(t.Context())
		testenv.Check(t, err)
		if st.Pending+st.Leased == 0 {
			break
		}
	}
	cancel()
	testenv.Check(t, <-done)
}

// Alerts lists the alerts, newest first.
func (s *Server) Alerts(t testing.TB) []picket.Alert {
	t.Helper()
	page, err := s.Store.Alerts(t.Context(), store.AlertQuery{})
	testenv.Check(t, err)
	return page.Alerts
}

// SaveAlerts stores n alerts, of agents A0, A1 and so on, the last the newest.
func (s *Server) SaveAlerts(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		at := Now.Add(time.Duration(i-n) * time.Minute)
		ev := picket.Event{ID: fmt.Sprint("s", i), AgentID: fmt.Sprint("A", i), Host: fmt.Sprint("h", i), Type: "t", Time: at, Received: at, Raw: []byte(`{}`)}
		m := picket.Match{ID: picket.MatchID("r", ev.ID), RuleID: "r", EventID: ev.ID, AgentID: ev.AgentID, Host: ev.Host, Time: at, Title: "T", Level: sigma.Low}
		_, err := s.Store.Save(t.Context(), store.Batch{ID: ev.ID, Events: []picket.Event{ev}, Matches: []picket.Match{m}})
		testenv.Check(t, err)
	}
}
