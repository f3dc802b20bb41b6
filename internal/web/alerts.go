package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
)

// rowsPerPage is the number of rows on a page of a list.
const rowsPerPage = 50

type alertsView struct {
	Alerts       []picket.Alert
	Next         string // the link to the next page, "" at the end
	First        bool   // this is the first page
	Status       string
	Level, Text  string
	Rule         string
	Host, Agent  string
	Levels       []string
	Counts       store.AlertCounts
	FilterActive bool
}

// statusFilters are the choices of the status filter.
var statusFilters = map[string][]picket.AlertStatus{
	"":               {picket.StatusOpen, picket.StatusInvestigating},
	"open":           {picket.StatusOpen},
	"investigating":  {picket.StatusInvestigating},
	"resolved":       {picket.StatusResolved},
	"false_positive": {picket.StatusFalsePositive},
	"all":            nil,
}

func (c *Console) alerts(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	q := r.URL.Query()
	v := alertsView{Status: q.Get("status"), Level: q.Get("level"), Text: q.Get("q"), Rule: q.Get("rule"), Host: q.Get("host"), Agent: q.Get("agent"),
		Levels: alertLevels, First: q.Get("cursor") == ""}
	statuses, ok := statusFilters[v.Status]
	if !ok {
		return fmt.Errorf("there is no status %q: %w", v.Status, picket.ErrInvalid)
	}
	aq := store.AlertQuery{Status: statuses, RuleID: v.Rule, Host: v.Host, AgentID: v.Agent, Text: v.Text, Limit: rowsPerPage, Cursor: q.Get("cursor")}
	if v.Level != "" {
		aq.Level = []string{v.Level}
	}
	page, err := c.Store.Alerts(r.Context(), aq)
	if err != nil {
		return err
	}
	v.Alerts, v.Next = page.Alerts, nextLink(r.URL, page.Next)
	v.FilterActive = v.Status != "" || v.Level != "" || v.Text != "" || v.Rule != "" || v.Host != "" || v.Agent != ""
	if v.Counts, err = c.Store.AlertCounts(r.Context()); err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "alerts.html", pageData{Title: "Alerts", Section: "alerts", Who: who, Live: v.First, Page: v})
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
	users, err := c.Store.Users(ctx)
	if err != nil {
		return err
	}
	for _, u := range users {
		if !u.Disabled {
			v.Users = append(v.Users, u.Name)
		}
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
		v.Rule, v.Refs = rule.Description, rule.References
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
