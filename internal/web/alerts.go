package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
)

// rowsPerPage is the number of rows on a page of a list.
const rowsPerPage = 50

type alertsView struct {
	alertFilter
	Alerts   []picket.Alert
	Next     string // the link to the next page, "" at the end
	Self     string // the link to this page
	Levels   []string
	Statuses []picket.AlertStatus
	Users    []string // who can be assigned
	Counts   store.AlertCounts
	CanAct   bool
}

// An alertFilter is what the form above the list of alerts selects.
type alertFilter struct {
	Status, Level, Text string
	Rule, Host, Agent   string
	Assignee            string // a user, nobody, or "" for all
	timeRange
}

// nobody stands for no assignee in forms. No user has that name, because names of users
// begin with a letter or a digit.
const nobody = "-"

// statusFilters are the choices of the status filter.
var statusFilters = map[string][]picket.AlertStatus{
	"":               {picket.StatusOpen, picket.StatusInvestigating},
	"open":           {picket.StatusOpen},
	"investigating":  {picket.StatusInvestigating},
	"resolved":       {picket.StatusResolved},
	"false_positive": {picket.StatusFalsePositive},
	"all":            nil,
}

// alertFilterOf returns the filter in the query of a URL.
func alertFilterOf(q url.Values) alertFilter {
	return alertFilter{q.Get("status"), q.Get("level"), q.Get("q"), q.Get("rule"), q.Get("host"), q.Get("agent"), q.Get("assignee"), timeRange{q.Get("since"), q.Get("until")}}
}

// IsSet reports whether the filter selects anything but the alerts that are not closed.
func (f alertFilter) IsSet() bool { return f != alertFilter{} }

// query returns the filter as a query of the store.
func (f alertFilter) query(now time.Time) (store.AlertQuery, error) {
	statuses, ok := statusFilters[f.Status]
	if !ok {
		return store.AlertQuery{}, fmt.Errorf("there is no status %q: %w", f.Status, picket.ErrInvalid)
	}
	q := store.AlertQuery{Status: statuses, RuleID: f.Rule, Host: f.Host, AgentID: f.Agent, Text: f.Text}
	if f.Level != "" {
		q.Level = []string{f.Level}
	}
	if f.Assignee != "" {
		assignee := strings.TrimPrefix(f.Assignee, nobody)
		q.Assignee = &assignee
	}
	var err error
	q.Since, q.Until, err = f.parse(now)
	return q, err
}

func (c *Console) alerts(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	q := r.URL.Query()
	v := alertsView{alertFilter: alertFilterOf(q), Self: r.URL.RequestURI(), Levels: alertLevels, Statuses: picket.AlertStatuses(), CanAct: who.HasRole(auth.RoleAnalyst)}
	aq, err := v.query(c.Now())
	if err != nil {
		return err
	}
	aq.Limit, aq.Cursor = rowsPerPage, q.Get("cursor")
	page, err := c.Store.Alerts(r.Context(), aq)
	if err != nil {
		return err
	}
	v.Alerts, v.Next = page.Alerts, nextLink(r.URL, page.Next)
	if v.Users, err = c.assignableUsers(r.Context()); err != nil {
		return err
	}
	if v.Counts, err = c.Store.AlertCounts(r.Context()); err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "alerts.html", pageData{Title: "Alerts", Section: "alerts", Who: who, Live: aq.Cursor == "", Page: v})
}

// assignableUsers returns the names of the users who can sign in.
func (c *Console) assignableUsers(ctx context.Context) ([]string, error) {
	users, err := c.Store.Users(ctx)
	var names []string
	for _, u := range users {
		if !u.Disabled {
			names = append(names, u.Name)
		}
	}
	return names, err
}

// nextLink returns the link to the page at a cursor.
func nextLink(u *url.URL, cursor string) string {
	if cursor == "" {
		return ""
	}
	q := u.Query()
	q.Set("cursor", cursor)
	return u.Path + "?" + q.Encode()
}

type alertView struct {
	Alert    picket.Alert
	Matches  []matchedEvent
	Users    []string // who can be assigned
	More     bool
	Rule     string // its description
	HasRule  bool   // the rule is loaded
	Refs     []string
	CanAct   bool
	Statuses []picket.AlertStatus
}

// matchedEvent is a match with its event.
type matchedEvent struct {
	Match picket.Match
	Raw   string // indented; "" after the event's retention
}

func (c *Console) alert(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	ctx := r.Context()
	a, err := c.Store.Alert(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	v := alertView{Alert: a, CanAct: who.HasRole(auth.RoleAnalyst),
		Statuses: picket.AlertStatuses()}
	slices.Reverse(v.Alert.Notes) // newest first
	if v.Users, err = c.assignableUsers(ctx); err != nil {
		return err
	}
	page, err := c.Store.Matches(ctx, store.MatchQuery{AlertID: a.ID, Limit: 10})
	if err != nil {
		return err
	}
	v.More = page.Next != ""
	for _, m := range page.Matches {
		e := matchedEvent{Match: m}
		ev, err := c.Store.Event(ctx, store.NewEventRef(m.EventID, m.EventNamespace))
		if err == nil {
			e.Raw = indentJSON(ev.Raw, maxMatchedEventBytes)
		} else if !errors.Is(err, picket.ErrNotFound) {
			return err
		}
		v.Matches = append(v.Matches, e)
	}
	if rule := c.rule(a.RuleID); rule != nil {
		v.HasRule, v.Rule, v.Refs = true, rule.Description, rule.References
	}
	return c.render(w, http.StatusOK, "alert.html", pageData{Title: a.Title, Section: "alerts", Who: who, Page: v})
}

// updateAlert changes what differs in the form from the alert as it is.
func (c *Console) updateAlert(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	id := r.PathValue("id")
	a, err := c.Store.Alert(r.Context(), id)
	if err != nil {
		return err
	}
	u := store.AlertUpdate{Note: r.PostForm.Get("note")}
	if s := picket.AlertStatus(r.PostForm.Get("status")); s != "" && s != a.Status {
		u.Status = &s
	}
	if to := r.PostForm.Get("assignee"); r.PostForm.Has("assignee") && to != a.Assignee {
		u.Assignee = &to
		if err := c.Triage.CheckAssignee(r.Context(), to); err != nil {
			return err
		}
	}
	if u.Status != nil || u.Assignee != nil || u.Note != "" {
		if _, err := c.Triage.UpdateAlert(r.Context(), who, id, u); err != nil {
			return err
		}
	}
	http.Redirect(w, r, "/console/alerts/"+url.PathEscape(id), http.StatusSeeOther)
	return nil
}
