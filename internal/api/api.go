// Package api is the JSON API: alerts, matches, events, hosts, workers, the
// queue, the counters and the audit log.
package api

import (
	"context"
	_ "embed"
	"net/http"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
)

// A Store answers the API's questions.
type Store interface {
	Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error)
	Alert(ctx context.Context, id string) (picket.Alert, error)
	AlertCounts(ctx context.Context) (store.AlertCounts, error)
	Matches(ctx context.Context, q store.MatchQuery) (store.MatchPage, error)
	SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error)
	CountEvents(ctx context.Context, q store.EventQuery, fields []string) (*store.EventCounts, error)
	EachFieldNames(ctx context.Context, seen func(names []string) (more bool)) (complete bool, err error)
	Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error)
	Event(ctx context.Context, ref store.EventSelector) (picket.Event, error)
	Totals(ctx context.Context) (store.Totals, error)
	Hosts(ctx context.Context, text string, limit int, cursor string) (store.HostPage, error)
	Workers(ctx context.Context, since time.Time) ([]store.Worker, error)
	AuditEntries(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error)
}

// A Queue answers what is in the queue.
type Queue interface {
	Stats(ctx context.Context) (queue.Stats, error)
	DeadLetters(ctx context.Context, before int64, n int) (queue.DeadLetterPage, error)
}

// Rules are the loaded rules.
type Rules interface {
	List() (enabled, disabled []ruleset.RuleInfo)
	Details(ctx context.Context, id string) (ruleset.RuleDetails, error)
	Status() (rules ruleset.LoadedRules, loadedAt time.Time)
}

// A Server serves the API. All fields are needed.
type Server struct {
	Store    Store
	Queue    Queue
	Rules    Rules
	Triage   *triage.Service
	Tokens   *auth.TokenVerifier
	Sessions *auth.Sessions
	Reads    *httpapi.ReadLimiter
	Now      func() time.Time
}

//go:embed openapi.json
var openAPIDocument []byte

// An authorisedHandler answers an authorised request.
type authorisedHandler func(w http.ResponseWriter, r *http.Request, who auth.Identity) error

// Routes adds the API's paths to mux.
func (s *Server) Routes(mux *httpapi.Mux) {
	known := documentedParameters()
	handle := func(pattern, role string, h authorisedHandler) {
		mux.Handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
			who, err := auth.Identify(r, s.Tokens, s.Sessions)
			if err == nil && !who.HasRole(role) {
				err = who.RequireRole(role)
			}
			if err == nil {
				err = checkQuery(r, known[pattern])
			}
			if err != nil {
				return err
			}
			return h(w, r, who)
		}, httpapi.WriteError)
	}
	read := func(pattern, role string, limit httpapi.ReadLimit, h authorisedHandler) {
		handle(pattern, role, func(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
			return limit(w, r, who.String(), func(w http.ResponseWriter, r *http.Request) error { return h(w, r, who) })
		})
	}
	read("GET /api/v1/alerts", auth.RoleViewer, s.Reads.ServeList, s.alerts)
	read("GET /api/v1/alerts/{id}", auth.RoleViewer, s.Reads.ServeList, s.alert)
	handle("PATCH /api/v1/alerts/{id}", auth.RoleAnalyst, s.updateAlert)
	handle("PATCH /api/v1/alerts", auth.RoleAnalyst, s.updateAlerts)
	read("GET /api/v1/matches", auth.RoleViewer, s.Reads.ServeList, s.matches)
	read("GET /api/v1/events", auth.RoleViewer, s.Reads.ServeSearch, s.events)
	read("GET /api/v1/events/{id}", auth.RoleViewer, s.Reads.ServeList, s.event)
	read("GET /api/v1/events/{id}/raw", auth.RoleViewer, s.Reads.ServeList, s.rawEvent)
	read("GET /api/v1/hosts", auth.RoleViewer, s.Reads.ServeList, s.hosts)
	read("GET /api/v1/rules", auth.RoleViewer, s.Reads.ServeList, s.rules)
	read("GET /api/v1/rules/coverage", auth.RoleViewer, s.Reads.ServeSearch, s.ruleCoverage)
	read("GET /api/v1/rules/{id}", auth.RoleViewer, s.Reads.ServeList, s.rule)
	read("GET /api/v1/workers", auth.RoleViewer, s.Reads.ServeList, s.workers)
	read("GET /api/v1/stats", auth.RoleViewer, s.Reads.ServeList, s.stats)
	read("GET /api/v1/queue", auth.RoleViewer, s.Reads.ServeList, s.queue)
	read("GET /api/v1/queue/dead", auth.RoleViewer, s.Reads.ServeList, s.deadLetters)
	handle("POST /api/v1/queue/dead/requeue", auth.RoleAdmin, s.requeue)
	handle("POST /api/v1/queue/dead/purge", auth.RoleAdmin, s.purge)
	read("GET /api/v1/audit", auth.RoleAdmin, s.Reads.ServeList, s.audit)
	mux.Handle("GET /api/v1/openapi.json", func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.WriteRawJSON(w, http.StatusOK, openAPIDocument)
	}, httpapi.WriteError)
}
