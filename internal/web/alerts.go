package web

import (
	"bytes"
	"encoding/json"
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

// pageSize is how many rows a page of a list has.
const pageSize = 50

type alertsView struct {
	Alerts       []picket.Alert
	Next         string // the link to the next page, "" at the end
	First        bool   // this is the first page
	Status       string
	Level, Text  string
	Rule, Host   string
	Levels       []string
	Counts       store.AlertCounts
	FilterActive bool
}

// statusFilters are the choices of the list's filter by status.
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
	v := alertsView{Status: q.Get("status"), Level: q.Get("level"), Text: q.Get("q"), Rule: q.Get("rule"), Host: q.Get("host"),
		Levels: levels, First: q.Get("cursor") == ""}
	statuses, ok := statusFilters[v.Status]
	if !ok {
		return fmt.Errorf("there is no status %q: %w", v.Status, picket.ErrInvalid)
	}
	aq := store.AlertQuery{Status: statuses, RuleID: v.Rule, Host: v.Host, Text: v.Text, Limit: pageSize, Cursor: q.Get("cursor")}
	if v.Level != "" {
		aq.Level = []string{v.Level}
	}
	page, err := c.Store.Alerts(r.Context(), aq)
	if err != nil {
		return err
	}
	v.Alerts, v.Next = page.Alerts, nextLink(r.URL, page.Next)
	v.FilterActive = v.Status != "" || v.Level != "" || v.Text != "" || v.Rule != "" || v.Host != ""
	if v.Counts, err = c.Store.AlertCounts(r.Context()); err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "alerts.html", view{Title: "Alerts", Section: "alerts", Who: who, Live: v.First, Page: v})
}

// nextLink is the same page with another cursor.
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
	Matches  []evidence
	More     bool
	Rule     string // its description
	Refs     []string
	CanAct   bool
	Statuses []picket.AlertStatus
}

// evidence is one match with the event that it is about.
type evidence struct {
	Match picket.Match
	Raw   string // indented; "" once the event is past its retention
}

func (c *Console) alert(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	ctx := r.Context()
	a, err := c.Store.Alert(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	v := alertView{Alert: a, CanAct: who.Can(auth.RoleAnalyst),
		Statuses: []picket.AlertStatus{picket.StatusOpen, picket.StatusInvestigating, picket.StatusResolved, picket.StatusFalsePositive}}
	slices.Reverse(v.Alert.Notes) // newest first
	page, err := c.Store.Matches(ctx, store.MatchQuery{AlertID: a.ID, Limit: 10})
	if err != nil {
		return err
	}
	v.More = page.Next != ""
	for _, m := range page.Matches {
		e := evidence{Match: m}
		ev, err := c.Store.Event(ctx, m.EventID)
		if err == nil {
			e.Raw = indent(ev.Raw)
		} else if !errors.Is(err, picket.ErrNotFound) {
			return err
		}
		v.Matches = append(v.Matches, e)
	}
	if rule := c.rule(a.RuleID); rule != nil {
		v.Rule, v.Refs = rule.Description, rule.References
	}
	return c.render(w, http.StatusOK, "alert.html", view{Title: a.Title, Section: "alerts", Who: who, Page: v})
}

// indent lays JSON out for reading; what is none stays as it is.
func indent(raw []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

func (c *Console) triage(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	id := r.PathValue("id")
	a, err := c.Store.Alert(r.Context(), id)
	if err != nil {
		return err
	}
	u := store.AlertUpdate{Note: r.PostForm.Get("note"), Author: who.Subject, At: c.Now().UTC()}
	if s := picket.AlertStatus(r.PostForm.Get("status")); s != "" && s != a.Status {
		if !s.Valid() {
			return fmt.Errorf("there is no status %q: %w", s, picket.ErrInvalid)
		}
		u.Status = &s
	}
	if r.PostForm.Has("assignee") {
		if to := r.PostForm.Get("assignee"); to != a.Assignee {
			u.Assignee = &to
		}
	}
	if u.Status != nil || u.Assignee != nil || u.Note != "" {
		if _, err := c.Store.UpdateAlert(r.Context(), id, u); err != nil {
			return err
		}
		c.audit(r.Context(), who, "alert.update", id, r.PostForm.Get("status"))
	}
	http.Redirect(w, r, "/console/alerts/"+url.PathEscape(id), http.StatusSeeOther)
	return nil
}
