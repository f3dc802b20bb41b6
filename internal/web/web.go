// Package web is the console, which people use in a browser. The server renders
// its pages from embedded templates, one file a page. They work without
// JavaScript; ui/console.js keeps them up to date.
//
// The console reads the store and the queue only, so a slow page never slows
// the intake.
package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
)

// Home is the path of the first page.
const Home = "/console/"

//go:embed ui
var uiFiles embed.FS

// A Store answers the console's questions.
type Store interface {
	Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error)
	Alert(ctx context.Context, id string) (picket.Alert, error)
	AlertCounts(ctx context.Context) (store.AlertCounts, error)
	Matches(ctx context.Context, q store.MatchQuery) (store.MatchPage, error)
	SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error)
	Event(ctx context.Context, ref store.EventSelector) (picket.Event, error)
	Totals(ctx context.Context) (store.Totals, error)
	Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error)
	Hosts(ctx context.Context, text string, limit int, cursor string) (store.HostPage, error)
	CountHosts(ctx context.Context, since time.Time) (total, online int64, err error)
	Workers(ctx context.Context, since time.Time) ([]store.Worker, error)
	AuditEntries(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error)
	Users(ctx context.Context) ([]store.User, error)
}

// A Queue answers what is in the queue.
type Queue interface {
	Stats(ctx context.Context) (queue.Stats, error)
	DeadLetters(ctx context.Context, before int64, n int) (queue.DeadLetterPage, error)
}

// Rules describes the loaded rules.
type Rules interface {
	// Status returns the enabled rules and when they were loaded.
	Status() (ruleset.LoadedRules, time.Time)
	List() (enabled, disabled []ruleset.RuleInfo)
	// Details returns a rule with its text, or picket.ErrNotFound.
	Details(ctx context.Context, id string) (ruleset.RuleDetails, error)
}

// A Console serves the pages. All fields are needed.
type Console struct {
	Store    Store
	Queue    Queue
	Rules    Rules
	Triage   *triage.Service
	Audit    *audit.Recorder
	Sessions *auth.Sessions
	Reads    *httpapi.ReadLimiter
	Now      func() time.Time
	Version  string
	// Dropped returns how many events have been dropped since the start: those
	// of legacy agents that found the queue full, and those that agents report
	// as dropped.
	Dropped func() (legacy, agents int64)

	pages map[string]*template.Template
}

// Routes adds the console's paths to mux.
func (c *Console) Routes(mux *httpapi.Mux) {
	c.pages = parsePages(c.Now)
	page := func(pattern, role string, h pageHandler) { mux.Handle(pattern, c.requireSignIn(role, h), c.writeError) }
	read := func(pattern, role string, limit httpapi.ReadLimit, h pageHandler) {
		page(pattern, role, func(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
			return limit(w, r, who.String(), func(w http.ResponseWriter, r *http.Request) error { return h(w, r, who) })
		})
	}
	read("GET /console/{$}", auth.RoleViewer, c.Reads.ServeList, c.overview)
	read("GET /console/alerts", auth.RoleViewer, c.Reads.ServeList, c.alerts)
	read("GET /console/alerts/{id}", auth.RoleViewer, c.Reads.ServeList, c.alert)
	page("POST /console/alerts", auth.RoleAnalyst, c.updateAlerts)
	page("POST /console/alerts/{id}", auth.RoleAnalyst, c.updateAlert)
	read("GET /console/hosts", auth.RoleViewer, c.Reads.ServeList, c.hosts)
	read("GET /console/events", auth.RoleViewer, c.Reads.ServeSearch, c.events)
	read("GET /console/events/{id}", auth.RoleViewer, c.Reads.ServeList, c.event)
	read("GET /console/rules", auth.RoleViewer, c.Reads.ServeList, c.rules)
	read("GET /console/rules/{id}", auth.RoleViewer, c.Reads.ServeList, c.rulePage)
	page("POST /console/rules/{id}", auth.RoleAnalyst, c.setRuleEnabled)
	read("GET /console/queue", auth.RoleViewer, c.Reads.ServeList, c.queue)
	page("POST /console/queue", auth.RoleAdmin, c.changeDeadLetters)
	read("GET /console/audit", auth.RoleAdmin, c.Reads.ServeList, c.auditLog)
	page("GET /console/{path...}", auth.RoleViewer, func(_ http.ResponseWriter, r *http.Request, _ auth.Identity) error {
		return fmt.Errorf("there is no page %s: %w", r.URL.Path, picket.ErrNotFound)
	})
	mux.Handle("GET /console/sign-in", c.signInPage, c.writeError)
	mux.Handle("POST /console/sign-in", c.signIn, c.writeError)
	page("POST /console/sign-out", auth.RoleViewer, c.signOut)
	assets, _ := fs.Sub(uiFiles, "ui") // of a constant name: it is there
	files := http.StripPrefix("/console/ui/", http.FileServerFS(assets))
	mux.Handle("GET /console/ui/{file}", func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		files.ServeHTTP(w, r)
		return nil
	}, httpapi.WriteError)
	mux.Handle("GET /console", httpapi.RedirectTo(Home), httpapi.WriteError)
}

// A pageHandler serves a page to a signed-in user.
type pageHandler func(w http.ResponseWriter, r *http.Request, who auth.Identity) error

// requireSignIn redirects users who are not signed in to the sign-in page, which
// redirects them back.
func (c *Console) requireSignIn(role string, h pageHandler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := c.Sessions.Identify(r)
		if errors.Is(err, auth.ErrUnauthenticated) {
			to := "/console/sign-in"
			if r.Method == http.MethodGet && r.URL.Path != Home {
				to += "?next=" + url.QueryEscape(r.URL.RequestURI())
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return nil
		}
		if err != nil {
			return err
		}
		if err := who.RequireRole(role); err != nil {
			return err
		}
		return h(w, r, who)
	}
}

// A pageData is the data of a page's template.
type pageData struct {
	Title   string
	Section string // the highlighted menu entry
	Who     auth.Identity
	Version string
	Live    bool // the page reloads itself every few seconds
	Page    any
}

// render writes a page. It renders to a buffer first, so that a failure becomes
// an error page and not half a page.
func (c *Console) render(w http.ResponseWriter, status int, name string, v pageData) error {
	v.Version = c.Version
	var b bytes.Buffer
	if err := c.pages[name].ExecuteTemplate(&b, "layout.html", v); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	// No page has inline scripts or styles, or loads anything from elsewhere, so
	// an event's text cannot run even if escaping failed.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// writeError writes the error page.
func (c *Console) writeError(w http.ResponseWriter, r *http.Request, err error) {
	status := httpapi.StatusOf(err)
	if s := httpapi.RetryAfter(err); s > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(s))
	}
	who, _ := c.Sessions.Identify(r)
	page := struct {
		Status        int
		Name, Message string
	}{status, http.StatusText(status), httpapi.ClientMessage(err)}
	if err := c.render(w, status, "error.html", pageData{Title: page.Name, Who: who, Page: page}); err != nil {
		httpapi.WriteError(w, r, err)
	}
}
