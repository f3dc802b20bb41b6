package web_test

import (
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/triage"
	"github.com/picket-edr/picket/internal/web"
	"github.com/picket-edr/picket/rules"
	"github.com/picket-edr/picket/sigma"
)

// A fixture is a console over real engines, with an alert in the store and a dead
// letter in the queue.
type fixture struct {
	t     *testing.T
	mux   *httpapi.Mux
	store *sqlitestore.Store
	queue *sqlitequeue.Queue
	alert string
}

// firstAlert is the id of the rule that the event matches.
const firstAlert = "9b170e7e-feb7-517f-ad35-a5179b0a1d0e"

const password = "correct horse battery"

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := sqlitestore.Open(filepath.Join(dir, "events.db"), sqlitestore.Options{})
	check(err)
	t.Cleanup(func() { s.Close() })
	q, err := sqlitequeue.Open(filepath.Join(dir, "queue.db"), sqlitequeue.Options{Logger: log})
	check(err)
	t.Cleanup(func() { q.Close() })
	loader, err := ruleset.NewLoader([]ruleset.Source{{Name: "builtin", FS: rules.FS}}, filepath.Join(dir, "off"), log)
	check(err)
	hash, err := auth.HashPassword(password)
	check(err)
	for _, role := range []string{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin} {
		check(s.PutUser(t.Context(), store.User{Name: role, PasswordHash: hash, Role: role, Created: time.Now()}))
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	events := []picket.Event{{ID: "ev/1", AgentID: "a", Host: "<b>h</b>", Type: "process", Time: now, Received: now, Raw: []byte(
		`{"event_type":"process","host":{"os":"Linux"},"process":{"name":"/bin/sh","command_line":"<script>alert(1)</script> picket-first-alert"}}`)}}
	matches, err := loader.Engine().NewDetector().Detect(events)
	check(err)
	saved, err := s.Save(t.Context(), store.Batch{ID: "b", Events: events, Matches: matches})
	check(err)
	if len(saved[0].Opened) != 1 {
		t.Fatalf("%d alerts", len(saved[0].Opened))
	}
	bad := picket.Batch{ID: "c", Received: now, Events: []picket.Event{{ID: "e", Raw: []byte(`{"x":"<i>"}`)}}}
	check(q.Enqueue(t.Context(), queue.Message{ID: "m"}, queue.DeadLetter{Reason: queue.Rejected, Cause: "<u>why</u>", Events: 1, Time: now, Payload: bad.Encode(nil)}))

	r := &fixture{t: t, mux: httpapi.NewMux(log), store: s, queue: q, alert: saved[0].Opened[0].ID}
	recorder := audit.NewRecorder(s, log, time.Now)
	console := &web.Console{Reads: httpapi.NewReadLimiter(time.Minute), Store: s, Queue: q, Rules: loader, Sessions: auth.NewSessions(s, time.Now), Audit: recorder, Now: time.Now,
		Triage:  &triage.Service{Alerts: s, Users: s, DeadLetters: q, Rules: loader, Audit: recorder, Now: time.Now},
		Version: "test", Dropped: func() (int64, int64) { return 1, 2 }}
	console.Routes(r.mux)
	return r
}

func (r *fixture) do(method, path, session string, form url.Values) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if session != "" {
		req.AddCookie(&http.Cookie{Name: auth.SessionCookieName, Value: session})
	}
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, req)
	return w
}

// signIn returns the session of a user named after a role.
func (r *fixture) signIn(name string) string {
	r.t.Helper()
	w := r.do("POST", "/console/sign-in", "", url.Values{"name": {name}, "password": {password}})
	cookies := w.Result().Cookies()
	if w.Code != http.StatusSeeOther || len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
		r.t.Fatalf("sign in as %s: %d %v", name, w.Code, cookies)
	}
	return cookies[0].Value
}

// Every page is rendered, contains what it must, and escapes the text of events.
func TestPages(t *testing.T) {
	r := newFixture(t)
	session := r.signIn(auth.RoleAdmin)
	for path, want := range map[string]string{
		"/console/":                                               "open alerts",
		"/console/alerts":                                         "the First Alert",
		"/console/alerts?status=all&q=x":                          "No alert matches",
		"/console/alerts/" + r.alert:                              "&lt;script&gt;",
		"/console/hosts":                                          "&lt;b&gt;h&lt;/b&gt;",
		"/console/events":                                         "&lt;script&gt;",
		"/console/events?q=alert":                                 "&lt;script&gt;",
		"/console/events/ev%2F1":                                  "Rules that fired",
		"/console/rules?q=t1490":                                  "Shadow Copies",
		"/console/rules/" + firstAlert:                            "detection:",
		"/console/alerts?assignee=-&since=1h":                     "the First Alert",
		"/console/alerts?assignee=ann":                            "No alert matches",
		"/console/alerts?until=1h":                                "No alert matches",
		"/console/events?since=1h":                                "&lt;script&gt;",
		"/console/events?since=2020-01-01&until=2020-01-02+08:00": "No event",
		"/console/queue":                                          "&lt;u&gt;why&lt;/u&gt;",
	} {
		w := r.do("GET", path, session, nil)
		body := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, no %q in\n%s", path, w.Code, want, body)
		}
		for _, bad := range []string{"<script>alert", "<b>h", "<u>why", "<i>"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %q is not escaped", path, bad)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	for path, status := range map[string]int{
		"/console/alerts/none": 404, "/console/events/none": 404, "/console/alerts?status=x": 400, "/console/events?q=(": 400, "/console/alerts?cursor=x": 400,
		"/console/rules/none": 404, "/console/nope": 404, "/console/alerts?since=x": 400, "/console/events?until=x": 400,
	} {
		if w := r.do("GET", path, session, nil); w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
	}
}

// The list of events shows the start of those without a field that describes them, and
// tells the starts and ends of processes apart.
func TestEventSummaries(t *testing.T) {
	r := newFixture(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	event := func(id, kind, raw string) picket.Event {
		return picket.Event{ID: id, AgentID: "a", Host: "h", Type: kind, Time: now, Received: now, Raw: []byte(raw)}
	}
	_, err := r.store.Save(t.Context(), store.Batch{ID: "own", Events: []picket.Event{
		event("1", "vpn_login", `{"event_type":"vpn_login","result":"denied"}`),
		event("2", "process", `{"event_type":"process","process":{"name":"/bin/sh","action":"terminated"}}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	page := html.UnescapeString(r.do("GET", "/console/events", r.signIn(auth.RoleViewer), nil).Body.String())
	for _, want := range []string{`"result":"denied"`, ">process_termination<", ">process_creation<"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
}

// Several alerts are changed at once: those that are checked, or, once confirmed, those
// that the filter selects.
func TestBulkTriage(t *testing.T) {
	r := newFixture(t)
	session := r.signIn(auth.RoleAnalyst)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for _, host := range []string{"h1", "h2"} {
		ev := picket.Event{ID: host, AgentID: host, Host: host, Type: "t", Time: now, Received: now, Raw: []byte(`{}`)}
		match := picket.Match{ID: host, RuleID: "noisy", EventID: host, EventNamespace: ev.Namespace(), AgentID: host, Host: host, Time: now, Title: "<i>Noise", Level: sigma.High}
		if _, err := r.store.Save(t.Context(), store.Batch{ID: host, Events: []picket.Event{ev}, Matches: []picket.Match{match}}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(q store.AlertQuery) int {
		t.Helper()
		page, err := r.store.Alerts(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Alerts)
	}
	list := "/console/alerts?rule=noisy&status=open"
	confirm := r.do("POST", list, session, url.Values{"scope": {"matching"}, "set_status": {"false_positive"}, "set_assignee": {"-"}, "note": {"<i>noise"}})
	body := confirm.Body.String()
	if confirm.Code != http.StatusOK || !strings.Contains(body, "Change 2 alerts?") || strings.Contains(body, "<i>") {
		t.Fatalf("%d\n%s", confirm.Code, body)
	}
	if n := count(store.AlertQuery{Status: []picket.AlertStatus{picket.StatusFalsePositive}}); n != 0 {
		t.Errorf("%d alerts are changed before it is confirmed", n)
	}
	form := url.Values{}
	for _, field := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		form.Add(field[1], html.UnescapeString(field[2]))
	}
	if w := r.do("POST", list, session, form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != list {
		t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
	}
	if n := count(store.AlertQuery{RuleID: "noisy", Status: []picket.AlertStatus{picket.StatusFalsePositive}}); n != 2 {
		t.Errorf("%d alerts are changed", n)
	}

	one := url.Values{"scope": {"selected"}, "id": {r.alert, "none"}, "set_assignee": {"analyst"}}
	if w := r.do("POST", "/console/alerts", session, one); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "1 changed, 1 not") {
		t.Errorf("%d\n%s", w.Code, w.Body)
	}
	if a := r.alertOf(t); a.Assignee != "analyst" || a.Status != picket.StatusOpen || len(a.Notes) != 1 {
		t.Errorf("%+v", a)
	}
	for _, bad := range []struct {
		who, path string
		form      url.Values
		status    int
	}{
		{"analyst", "/console/alerts", url.Values{"id": {r.alert}}, 400},
		{"analyst", "/console/alerts", url.Values{"set_status": {"resolved"}}, 400},
		{"analyst", "/console/alerts", url.Values{"id": {r.alert}, "set_status": {"new"}}, 400},
		{"analyst", "/console/alerts", url.Values{"id": {r.alert}, "set_assignee": {"unknown"}}, 409},
		{"analyst", "/console/alerts?rule=none", url.Values{"scope": {"matching"}, "set_status": {"resolved"}}, 400},
		{"viewer", "/console/alerts", one, 403},
	} {
		if w := r.do("POST", bad.path, r.signIn(bad.who), bad.form); w.Code != bad.status {
			t.Errorf("%s %v: %d\n%s", bad.path, bad.form, w.Code, w.Body)
		}
	}
	if page := r.do("GET", "/console/alerts", r.signIn(auth.RoleViewer), nil).Body.String(); strings.Contains(page, "checkbox") {
		t.Error("a viewer sees check boxes")
	}
}

// Of more alerts than may be changed at once, the newest are.
func TestBulkTriageIsBounded(t *testing.T) {
	r := newFixture(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	var b store.Batch
	for i := range triage.MaxAlertsPerUpdate + 1 {
		host := fmt.Sprint("host-", i)
		ev := picket.Event{ID: host, AgentID: host, Host: host, Type: "t", Time: now.Add(time.Duration(i) * time.Microsecond), Received: now, Raw: []byte(`{}`)}
		b.Events = append(b.Events, ev)
		b.Matches = append(b.Matches, picket.Match{ID: host, RuleID: "noisy", EventID: host, EventNamespace: ev.Namespace(), AgentID: host, Host: host, Time: ev.Time, Title: fmt.Sprint("Noise ", i%30), Level: sigma.High})
	}
	b.ID = "many"
	if _, err := r.store.Save(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w := r.do("POST", "/console/alerts?rule=noisy", r.signIn(auth.RoleAnalyst), url.Values{"scope": {"matching"}, "set_status": {"resolved"}})
	body := w.Body.String()
	for _, want := range []string{"Change 1000 alerts?", "The filter selects more than these", "and alerts of 10 other titles"} {
		if !strings.Contains(body, want) {
			t.Errorf("%d, no %q", w.Code, want)
		}
	}
	if n := strings.Count(body, `name="id"`); n != triage.MaxAlertsPerUpdate {
		t.Errorf("%d ids", n)
	}
}

// A visitor without a session is redirected to sign in and then back, but never to
// another site.
func TestSignIn(t *testing.T) {
	r := newFixture(t)
	w := r.do("GET", "/console/alerts?status=all", "", nil)
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/console/sign-in?next=%2Fconsole%2Falerts%3Fstatus%3Dall" {
		t.Errorf("%d to %q", w.Code, to)
	}
	for next, want := range map[string]string{
		"/console/queue": "/console/queue", "https://evil.example/": web.Home, "//evil.example": web.Home, "/console/\\evil": web.Home, "": web.Home,
	} {
		w := r.do("POST", "/console/sign-in", "", url.Values{"name": {"viewer"}, "password": {password}, "next": {next}})
		if to := w.Header().Get("Location"); to != want {
			t.Errorf("next %q goes to %q", next, to)
		}
	}
	if w := r.do("POST", "/console/sign-in", "", url.Values{"name": {"viewer"}, "password": {"wrong"}}); w.Code != http.StatusUnauthorized || len(w.Result().Cookies()) > 0 {
		t.Errorf("a wrong password: %d", w.Code)
	}
	session := r.signIn(auth.RoleViewer)
	r.do("POST", "/console/sign-out", session, nil)
	if w := r.do("GET", "/console/", session, nil); w.Code != http.StatusSeeOther {
		t.Errorf("after signing out: %d", w.Code)
	}
}

// A change requires its role, and is recorded.
func TestRoles(t *testing.T) {
	r := newFixture(t)
	deadLetters := func() int {
		page, err := r.queue.DeadLetters(t.Context(), 0, 10)
		ls := page.DeadLetters
		if err != nil {
			t.Fatal(err)
		}
		return len(ls)
	}
	resolve, purge := url.Values{"status": {"resolved"}, "note": {"done"}}, url.Values{"do": {"purge"}, "all": {"true"}}
	rule := "/console/rules/" + r.alertOf(t).RuleID
	for _, c := range []struct {
		who, path string
		form      url.Values
		status    int
	}{
		{"viewer", "/console/alerts/" + r.alert, resolve, 403}, {"viewer", rule, url.Values{"on": {"false"}}, 403}, {"viewer", "/console/queue", purge, 403},
		{"analyst", "/console/queue", purge, 403}, {"analyst", "/console/alerts/" + r.alert, resolve, 303}, {"analyst", rule, url.Values{"on": {"false"}}, 303},
		{"admin", "/console/queue", url.Values{"do": {"purge"}}, 400}, {"admin", "/console/queue", url.Values{"do": {"eat"}, "all": {"true"}}, 400}, {"admin", "/console/queue", purge, 303},
	} {
		if w := r.do("POST", c.path, r.signIn(c.who), c.form); w.Code != c.status {
			t.Errorf("%s at %s: %d, want %d", c.who, c.path, w.Code, c.status)
		}
	}
	if a := r.alertOf(t); a.Status != picket.StatusResolved || len(a.Notes) == 0 || a.Notes[0].Author != "analyst" {
		t.Errorf("alert %+v", a)
	}
	if n := deadLetters(); n != 0 {
		t.Errorf("%d dead letters left", n)
	}
	entries, err := r.store.AuditEntries(t.Context(), store.AuditQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	for _, e := range entries {
		seen[e.Action] = e.Actor
	}
	if seen["alert.update"] != "user:analyst" || seen["rule.switch"] != "user:analyst" || seen["queue.purge"] != "user:admin" || seen["sign-in"] == "" {
		t.Errorf("audit log %v", seen)
	}
}

func (r *fixture) alertOf(t *testing.T) picket.Alert {
	t.Helper()
	a, err := r.store.Alert(t.Context(), r.alert)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The links to a host's events and alerts find them, whatever its name and its agent's
// are, and not those of another agent's host of that name.
func TestHostLinks(t *testing.T) {
	r := newFixture(t)
	session := r.signIn(auth.RoleViewer)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for _, agent := range []string{`a&b "c"%41`, "other"} {
		ev := picket.Event{ID: "event-of-" + agent[:1], AgentID: agent, Host: `h+1 & "x"%20`, Type: "process", Time: now, Received: now, Raw: []byte(`{}`)}
		match := picket.Match{ID: agent, RuleID: "r", EventID: ev.ID, EventNamespace: ev.Namespace(), AgentID: agent, Host: ev.Host, Time: now, Title: "Alert of " + agent[:1], Level: sigma.High}
		if _, err := r.store.Save(t.Context(), store.Batch{ID: agent, Events: []picket.Event{ev}, Matches: []picket.Match{match}}); err != nil {
			t.Fatal(err)
		}
	}
	page := r.do("GET", "/console/hosts", session, nil).Body.String()
	row := regexp.MustCompile(`<tr>.*a&amp;b.*</tr>`).FindString(page)
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(row, -1)
	if len(links) != 2 {
		t.Fatalf("%d links in %q", len(links), row)
	}
	for i, want := range []string{"event-of-a", "Alert of a"} {
		body := r.do("GET", html.UnescapeString(links[i][1]), session, nil).Body.String()
		if other := want[:len(want)-1] + "o"; !strings.Contains(body, want) || strings.Contains(body, other) {
			t.Errorf("%s: no %q, or %q, in\n%s", links[i][1], want, other, body)
		}
	}
}
