package legacy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
	"github.com/picket-edr/picket/sigma"
)

// A Store answers the dashboard's questions.
type Store interface {
	Totals(ctx context.Context) (store.Totals, error)
	AlertCounts(ctx context.Context) (store.AlertCounts, error)
	Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error)
	Alert(ctx context.Context, id string) (picket.Alert, error)
	Matches(ctx context.Context, q store.MatchQuery) (store.MatchPage, error)
	SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error)
	Hosts(ctx context.Context, text string, limit int, cursor string) (store.HostPage, error)
}

// RuleLister lists the loaded rules.
type RuleLister interface {
	List() (on, off []ruleset.RuleInfo)
}

// A Dashboard serves the JSON API behind the legacy dashboard, with its paths,
// field names and errors. All fields are needed.
type Dashboard struct {
	Store    Store
	Rules    RuleLister
	Triage   *triage.Service
	Tokens   *auth.TokenVerifier
	Sessions *auth.Sessions
	Reads    *httpapi.ReadLimiter
	Now      func() time.Time
}

// An authorizedHandler answers an authorised request.
type authorizedHandler func(w http.ResponseWriter, r *http.Request, who auth.Identity) error

// maxAnswerRows bounds the rows of an answer and the alerts of a bulk action.
const maxAnswerRows = 1000

// Routes adds the dashboard's paths to mux.
func (d *Dashboard) Routes(mux *httpapi.Mux) {
	handle := func(pattern, role string, h authorizedHandler) {
		mux.Handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
			who, err := auth.Identify(r, d.Tokens, d.Sessions)
			if err != nil {
				return err
			}
			if !who.HasRole(role) { // the legacy system redirected instead of refusing
				http.Redirect(w, r, "/dashboard/", http.StatusFound)
				return nil
			}
			return h(w, r, who)
		}, writeDashboardError)
	}
	read := func(pattern string, limit httpapi.ReadLimit, h authorizedHandler) {
		handle(pattern, auth.RoleViewer, func(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
			return limit(w, r, who.String(), func(w http.ResponseWriter, r *http.Request) error { return h(w, r, who) })
		})
	}
	mux.Handle("GET /api/v1/health/{$}", func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}, writeDashboardError)
	read("GET /api/v1/dashboard/stats/{$}", d.Reads.ServeList, d.stats)
	read("GET /api/v1/dashboard/alerts/{$}", d.Reads.ServeList, d.alerts)
	read("GET /api/v1/dashboard/alerts/{id}/{$}", d.Reads.ServeList, d.alert)
	read("GET /api/v1/alerts/{id}/timeline/{$}", d.Reads.ServeSearch, d.eventsAroundAlert)
	read("GET /api/v1/dashboard/alerts/{id}/timeline/{$}", d.Reads.ServeSearch, d.eventsAroundAlert)
	for _, base := range []string{"/api/v1/alerts/", "/api/v1/dashboard/alerts/"} {
		handle("POST "+base+"{id}/status/{$}", auth.RoleAnalyst, d.setStatus)
		handle("POST "+base+"{id}/assign/{$}", auth.RoleAnalyst, d.assign)
		handle("POST "+base+"{id}/note/{$}", auth.RoleAnalyst, d.addNote)
	}
	handle("POST /api/v1/alerts/bulk/{$}", auth.RoleAnalyst, d.bulkAction)
	handle("POST /api/v1/dashboard/rules/{id}/toggle/{$}", auth.RoleAnalyst, d.toggleRule)
	read("GET /api/v1/search/{$}", d.Reads.ServeList, d.searchAlertsAndHosts)
	redirectPages(mux)
}

// redirectPages sends the legacy dashboard's pages to the console's.
func redirectPages(mux *httpapi.Mux) {
	for from, to := range map[string]string{
		"/dashboard/{$}": "/console/", "/dashboard/alerts/{$}": "/console/alerts", "/dashboard/rules/{$}": "/console/rules",
		"/dashboard/events/{$}": "/console/events", "/accounts/login/{$}": "/console/sign-in",
	} {
		mux.Handle("GET "+from, httpapi.RedirectTo(to), httpapi.WriteError)
	}
	mux.Handle("GET /dashboard/alerts/{id}/{$}", func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.RedirectTo("/console/alerts/"+url.PathEscape(r.PathValue("id")))(w, r)
	}, httpapi.WriteError)
}

// writeDashboardError answers an error as Django REST framework did on paths
// that also take a session: missing credentials are a 403.
func writeDashboardError(w http.ResponseWriter, r *http.Request, err error) {
	forbidden := func(text string) { httpapi.WriteJSON(w, http.StatusForbidden, map[string]string{"detail": text}) }
	_, malformed := errors.AsType[bodyParseError](err)
	switch {
	case malformed:
		httpapi.WriteJSON(w, http.StatusBadRequest, map[string]string{"detail": "JSON parse error - " + err.Error()})
	case errors.Is(err, auth.ErrUnauthenticated):
		forbidden(djangoErrorDetail(r, err))
	case errors.Is(err, auth.ErrForbidden):
		forbidden("You do not have permission to perform this action.")
	case errors.Is(err, picket.ErrNotFound):
		writePythonJSON(w, http.StatusNotFound, orderedObject{{"error", "Alert not found"}})
	default:
		httpapi.SetErrorHeaders(w, err)
		writePythonJSON(w, httpapi.StatusOf(err), orderedObject{{"error", httpapi.ClientMessage(err)}})
	}
}

var legacyStatusNames = map[picket.AlertStatus]string{
	picket.StatusOpen: "UNRESOLVED", picket.StatusInvestigating: "INVESTIGATING",
	picket.StatusResolved: "RESOLVED", picket.StatusFalsePositive: "FALSE_POSITIVE",
}

func parseStatus(s string) (picket.AlertStatus, bool) {
	for status, name := range legacyStatusNames {
		if name == s {
			return status, true
		}
	}
	return "", false
}

// severityName returns the legacy name of a level. The legacy system had no
// "informational".
func severityName(l sigma.Level) string {
	if l == sigma.Informational {
		return "LOW"
	}
	return strings.ToUpper(l.String())
}
