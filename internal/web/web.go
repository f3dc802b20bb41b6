// Package web is the console: what people see of picket in a browser. Pages
// are rendered by the server from embedded templates, one file a page, and
// work without a script; ui/console.js adds that they stay up to date.
//
// It reads through the store's and the queue's seams only, so that a slow
// page never slows intake.
package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// Home is the path of the first page.
const Home = "/console/"

//go:embed ui
var ui embed.FS

// Rules is the rule set in force, as the console shows and switches it.
type Rules interface {
	Status() (detect.Set, time.Time)
	List() (on, off []detect.Entry)
	Switch(ctx context.Context, id string, on bool) error
}

// A Console serves the pages. All fields but Secure are needed.
type Console struct {
	Store    store.Store
	Queue    queue.Inspector
	Rules    Rules
	Sessions *auth.Sessions
	Log      *slog.Logger
	Now      func() time.Time
	Secure   bool // behind TLS: the cookie goes nowhere else
	Version  string
	// Dropped counts the events since the start that agents of the replaced
	// system sent and that found no room, and those that picket's own agents
	// say they dropped.
	Dropped func() (legacy, agents int64)

	pages map[string]*template.Template
}

// Routes adds the console's paths to mux.
func (c *Console) Routes(mux *httpapi.Mux) {
	c.pages = parsePages(c.Now)
	page := func(pattern, role string, h pageHandler) { mux.Handle(pattern, c.signedIn(role, h), c.writeError) }
	page("GET /console/{$}", auth.RoleViewer, c.overview)
	page("GET /console/alerts", auth.RoleViewer, c.alerts)
	page("GET /console/alerts/{id}", auth.RoleViewer, c.alert)
	page("POST /console/alerts/{id}", auth.RoleAnalyst, c.triage)
	page("GET /console/hosts", auth.RoleViewer, c.hosts)
	page("GET /console/events", auth.RoleViewer, c.events)
	page("GET /console/events/{id}", auth.RoleViewer, c.event)
	page("GET /console/rules", auth.RoleViewer, c.rules)
	page("POST /console/rules/{id}", auth.RoleAnalyst, c.switchRule)
	page("GET /console/queue", auth.RoleViewer, c.queue)
	page("POST /console/queue", auth.RoleAdmin, c.tend)
	mux.Handle("GET /console/sign-in", c.signInPage, c.writeError)
	mux.Handle("POST /console/sign-in", c.signIn, c.writeError)
	page("POST /console/sign-out", auth.RoleViewer, c.signOut)
	assets, _ := fs.Sub(ui, "ui") // of a constant name: it is there
	files := http.StripPrefix("/console/ui/", http.FileServerFS(assets))
	mux.Handle("GET /console/ui/{file}", func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		files.ServeHTTP(w, r)
		return nil
	}, httpapi.WriteError)
	// The replaced system's pages live on here.
	for from, to := range map[string]string{
		"/console": Home, "/dashboard/{$}": Home, "/dashboard/alerts/{$}": "/console/alerts", "/dashboard/rules/{$}": "/console/rules",
		"/dashboard/events/{$}": "/console/events", "/accounts/login/{$}": "/console/sign-in",
	} {
		mux.Handle("GET "+from, redirect(to), httpapi.WriteError)
	}
	mux.Handle("GET /dashboard/alerts/{id}/{$}", func(w http.ResponseWriter, r *http.Request) error {
		return redirect("/console/alerts/"+url.PathEscape(r.PathValue("id")))(w, r)
	}, httpapi.WriteError)
}

func redirect(to string) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		http.Redirect(w, r, to, http.StatusFound)
		return nil
	}
}

// A pageHandler serves a page to somebody who is signed in.
type pageHandler func(w http.ResponseWriter, r *http.Request, who auth.Identity) error

// signedIn sends who is not signed in to do so and come back.
func (c *Console) signedIn(role string, h pageHandler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := c.Sessions.Check(r.Context(), auth.Cookie(r))
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
		if !who.Can(role) {
			return fmt.Errorf("%s is %s, which is not enough here: %w", who.Subject, who.Role, auth.ErrForbidden)
		}
		return h(w, r, who)
	}
}

// A view is what every page's template gets.
type view struct {
	Title   string
	Section string // which entry of the menu is lit
	Who     auth.Identity
	Version string
	Live    bool // the page asks for itself again, every few seconds
	Page    any
}

// render writes a page. It is made whole first, so that a failure is an error
// page and not half of one.
func (c *Console) render(w http.ResponseWriter, status int, name string, v view) error {
	v.Version = c.Version
	var b bytes.Buffer
	if err := c.pages[name].ExecuteTemplate(&b, "layout.html", v); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	// Nothing in a page is inline, nothing comes from elsewhere: text of an
	// event that slipped through escaping would still do nothing.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// writeError is the error page.
func (c *Console) writeError(w http.ResponseWriter, r *http.Request, err error) {
	status := httpapi.Status(err)
	who, _ := c.Sessions.Check(r.Context(), auth.Cookie(r))
	page := struct {
		Status        int
		Name, Message string
	}{status, http.StatusText(status), httpapi.Message(err)}
	if err := c.render(w, status, "error.html", view{Title: page.Name, Who: who, Page: page}); err != nil {
		httpapi.WriteError(w, r, err)
	}
}

// audit records what somebody did.
func (c *Console) audit(ctx context.Context, who auth.Identity, action, object, detail string) {
	e := store.AuditEntry{Time: c.Now().UTC(), Actor: who.String(), Action: action, Object: object, Detail: detail}
	if err := c.Store.AddAuditEntry(ctx, e); err != nil {
		c.Log.Error("audit entry not stored", "actor", e.Actor, "action", action, "object", object, "error", err)
	}
}
