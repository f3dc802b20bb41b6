// Package api is the JSON API over what picket knows: alerts, matches, events,
// hosts, the queue and the counters. It also answers the dashboard paths of
// the replaced system, in that system's words (legacy.go).
package api

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// Rules is the rule set in force, as the API shows and switches it.
type Rules interface {
	// List returns the rules that run and those that are switched off.
	List() (on, off []detect.Entry)
	// Switch turns a rule on or off; picket.ErrNotFound where there is none.
	Switch(ctx context.Context, id string, on bool) error
}

// A Server serves the API. All fields are needed.
type Server struct {
	Store    store.Store
	Queue    queue.Inspector
	Rules    Rules
	Tokens   *auth.Tokens
	Sessions *auth.Sessions
	Log      *slog.Logger
	Now      func() time.Time
}

//go:embed openapi.json
var openapi []byte

// A handler answers somebody who may ask.
type handler func(w http.ResponseWriter, r *http.Request, who auth.Identity) error

// Routes adds the API's paths to mux.
func (s *Server) Routes(mux *httpapi.Mux) {
	handle := func(pattern, role string, h handler) {
		mux.Handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
			who, err := s.identify(r)
			if err == nil && !who.Can(role) {
				err = fmt.Errorf("%s is not %s: %w", who, role, auth.ErrForbidden)
			}
			if err != nil {
				return err
			}
			return h(w, r, who)
		}, httpapi.WriteError)
	}
	handle("GET /api/v1/alerts", auth.RoleViewer, s.alerts)
	handle("GET /api/v1/alerts/{id}", auth.RoleViewer, s.alert)
	handle("PATCH /api/v1/alerts/{id}", auth.RoleAnalyst, s.updateAlert)
	handle("GET /api/v1/matches", auth.RoleViewer, s.matches)
	handle("GET /api/v1/events", auth.RoleViewer, s.events)
	handle("GET /api/v1/events/{id}", auth.RoleViewer, s.event)
	handle("GET /api/v1/events/{id}/raw", auth.RoleViewer, s.rawEvent)
	handle("GET /api/v1/hosts", auth.RoleViewer, s.hosts)
	handle("GET /api/v1/workers", auth.RoleViewer, s.workers)
	handle("GET /api/v1/stats", auth.RoleViewer, s.stats)
	handle("GET /api/v1/queue", auth.RoleViewer, s.queue)
	handle("GET /api/v1/queue/dead", auth.RoleViewer, s.dead)
	handle("POST /api/v1/queue/dead/requeue", auth.RoleAdmin, s.requeue)
	handle("POST /api/v1/queue/dead/purge", auth.RoleAdmin, s.purge)
	mux.Handle("GET /api/v1/openapi.json", func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.Write(w, http.StatusOK, openapi)
	}, httpapi.WriteError)
	s.legacyRoutes(mux)
}

// identify returns who is asking: a program by an API token, or a person by
// the console's session.
func (s *Server) identify(r *http.Request) (auth.Identity, error) {
	if secret := auth.Secret(r); secret != "" {
		id, err := s.Tokens.Check(r.Context(), secret)
		if err == nil && id.Kind != auth.KindAPI {
			err = fmt.Errorf("read with a token of kind %s: %w", id.Kind, auth.ErrForbidden)
		}
		return id, err
	}
	return s.Sessions.Check(r.Context(), auth.Cookie(r))
}

// audit records what somebody did. The deed is done by then: that it could
// not be recorded is for the log.
func (s *Server) audit(ctx context.Context, who auth.Identity, action, object, detail string) {
	e := store.AuditEntry{Time: s.Now().UTC(), Actor: who.String(), Action: action, Object: object, Detail: detail}
	if err := s.Store.AddAuditEntry(ctx, e); err != nil {
		s.Log.Error("audit entry not stored", "actor", e.Actor, "action", action, "object", object, "error", err)
	}
}

// maxLimit is the most rows that a page may have.
const maxLimit = 1000

// A query reads URL parameters; the first that is malformed is its error.
type query struct {
	url.Values
	err error
}

func (q *query) limit() int {
	v := q.Get("limit")
	if v == "" {
		return 100
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxLimit {
		q.fail("limit", v, fmt.Sprintf("a number from 1 to %d", maxLimit))
		return 0
	}
	return n
}

// time reads RFC 3339, or Unix seconds.
func (q *query) time(name string) time.Time {
	v := q.Get(name)
	if v == "" {
		return time.Time{}
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		return t.UTC()
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil && n >= 0 && n < 1e11 {
		return time.UnixMicro(int64(n * 1e6)).UTC()
	}
	q.fail(name, v, "a time as in 2006-01-02T15:04:05Z, or Unix seconds")
	return time.Time{}
}

func (q *query) fail(name, value, want string) {
	if q.err == nil {
		q.err = fmt.Errorf("parameter %s is %q, not %s: %w", name, value, want, picket.ErrInvalid)
	}
}
