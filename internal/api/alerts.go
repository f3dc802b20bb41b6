package api

import (
	"cmp"
	"net/http"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
)

func (s *Server) alerts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	aq := store.AlertQuery{
		RuleID: q.Get("rule_id"), AgentID: q.Get("agent_id"), Host: q.Get("host"), Text: q.Get("text"), Level: q.list("level", levelNames),
		Since: q.timeParam("since"), Until: q.timeParam("until"), Limit: q.pageLimit(), Cursor: q.Get("cursor"),
	}
	for _, v := range q.list("status", alertStatusNames()) {
		aq.Status = append(aq.Status, picket.AlertStatus(v))
	}
	if q.err != nil {
		return q.err
	}
	page, err := s.Store.Alerts(r.Context(), aq)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"alerts": nonNil(page.Alerts), "next": cursorOrNull(page.Next)})
}

// alertStatusNames returns the names of all statuses.
func alertStatusNames() []string {
	var names []string
	for _, status := range picket.AlertStatuses() {
		names = append(names, string(status))
	}
	return names
}

// levelNames are the names of all levels.
var levelNames = []string{"informational", "low", "medium", "high", "critical"}

// cursorOrNull returns the cursor of the next page, nil (JSON null) at the end.
func cursorOrNull(cursor string) any {
	if cursor == "" {
		return nil
	}
	return cursor
}

// nonNil returns an empty slice for nil, which would be null in JSON.
func nonNil[T any](rows []T) []T {
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
	return httpapi.WriteJSON(w, http.StatusOK, a)
}

func (s *Server) updateAlert(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	var body struct {
		Status   *picket.AlertStatus `json:"status"`
		Assignee *string             `json:"assignee"`
		Note     string              `json:"note"`
	}
	if err := httpapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	if body.Assignee != nil {
		if err := s.Triage.CheckAssignee(r.Context(), *body.Assignee); err != nil {
			return err
		}
	}
	a, err := s.Triage.UpdateAlert(r.Context(), who, r.PathValue("id"), store.AlertUpdate{Status: body.Status, Assignee: body.Assignee, Note: body.Note})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, a)
}

func (s *Server) matches(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	mq := store.MatchQuery{
		AlertID: q.Get("alert_id"), RuleID: q.Get("rule_id"), AgentID: q.Get("agent_id"), EventID: q.Get("event_id"), EventNamespace: q.Get("namespace"),
		Since: q.timeParam("since"), Until: q.timeParam("until"), Limit: q.pageLimit(), Cursor: q.Get("cursor"),
	}
	if q.err != nil {
		return q.err
	}
	page, err := s.Store.Matches(r.Context(), mq)
	if err != nil {
		return err
	}
	for i := range page.Matches {
		m := &page.Matches[i]
		m.Why, m.EventNamespace = nonNil(m.Why), cmp.Or(m.EventNamespace, store.NoEventNamespace)
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"matches": nonNil(page.Matches), "next": cursorOrNull(page.Next)})
}
