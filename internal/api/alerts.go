package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

func (s *Server) alerts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := query{Values: r.URL.Query()}
	aq := store.AlertQuery{
		RuleID: q.Get("rule_id"), AgentID: q.Get("agent_id"), Host: q.Get("host"), Text: q.Get("text"),
		Since: q.time("since"), Until: q.time("until"), Limit: q.limit(), Cursor: q.Get("cursor"),
	}
	for _, v := range list(q.Get("status")) {
		if !picket.AlertStatus(v).Valid() {
			q.fail("status", v, "one of open, investigating, resolved, false_positive")
		}
		aq.Status = append(aq.Status, picket.AlertStatus(v))
	}
	for _, v := range list(q.Get("level")) {
		if _, err := sigma.ParseLevel(v); err != nil {
			q.fail("level", v, "one of informational, low, medium, high, critical")
		}
		aq.Level = append(aq.Level, v)
	}
	if q.err != nil {
		return q.err
	}
	page, err := s.Store.Alerts(r.Context(), aq)
	if err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusOK, map[string]any{"alerts": orEmpty(page.Alerts), "next": next(page.Next)})
}

// list splits a parameter of several values at commas.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// next is the cursor of the next page, null at the end.
func next(cursor string) any {
	if cursor == "" {
		return nil
	}
	return cursor
}

// orEmpty makes [] of no rows, where nil would be null.
func orEmpty[T any](rows []T) []T {
	if rows == nil {
		return []T{}
	}
	return rows
}

func (s *Server) alert(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	a, err := s.Store.Alert(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusOK, a)
}

// The longest, in bytes, that what people write of an alert may be.
const (
	maxNote     = 10_000
	maxAssignee = 256
)

func (s *Server) updateAlert(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	var body struct {
		Status   *picket.AlertStatus `json:"status"`
		Assignee *string             `json:"assignee"`
		Note     string              `json:"note"`
	}
	if err := httpapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	switch {
	case body.Status != nil && !body.Status.Valid():
		return fmt.Errorf("status %q is none of open, investigating, resolved, false_positive: %w", *body.Status, picket.ErrInvalid)
	case body.Status == nil && body.Assignee == nil && body.Note == "":
		return fmt.Errorf("nothing to change; give status, assignee or note: %w", picket.ErrInvalid)
	case len(body.Note) > maxNote || body.Assignee != nil && len(*body.Assignee) > maxAssignee:
		return fmt.Errorf("note or assignee is too long: %w", picket.ErrInvalid)
	}
	a, err := s.triage(r, who, r.PathValue("id"), store.AlertUpdate{Status: body.Status, Assignee: body.Assignee, Note: body.Note})
	if err != nil {
		return err
	}
	return httpapi.JSON(w, http.StatusOK, a)
}

// triage updates an alert in somebody's name, and says so in the audit log.
func (s *Server) triage(r *http.Request, who auth.Identity, id string, u store.AlertUpdate) (picket.Alert, error) {
	u.Author, u.At = who.Subject, s.Now().UTC()
	a, err := s.Store.UpdateAlert(r.Context(), id, u)
	if err != nil {
		return a, err
	}
	var detail []string
	if u.Status != nil {
		detail = append(detail, "status="+string(*u.Status))
	}
	if u.Assignee != nil {
		detail = append(detail, "assignee="+*u.Assignee)
	}
	if u.Note != "" {
		detail = append(detail, "note")
	}
	s.audit(r.Context(), who, "alert.update", id, strings.Join(detail, " "))
	return a, nil
}

func (s *Server) matches(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := query{Values: r.URL.Query()}
	mq := store.MatchQuery{
		AlertID: q.Get("alert_id"), RuleID: q.Get("rule_id"), AgentID: q.Get("agent_id"), EventID: q.Get("event_id"),
		Since: q.time("since"), Until: q.time("until"), Limit: q.limit(), Cursor: q.Get("cursor"),
	}
	if q.err != nil {
		return q.err
	}
	page, err := s.Store.Matches(r.Context(), mq)
	if err != nil {
		return err
	}
	for i := range page.Matches {
		page.Matches[i].Why = orEmpty(page.Matches[i].Why)
	}
	return httpapi.JSON(w, http.StatusOK, map[string]any{"matches": orEmpty(page.Matches), "next": next(page.Next)})
}
