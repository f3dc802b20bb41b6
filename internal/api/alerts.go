package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
)

func (s *Server) alerts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	aq := store.AlertQuery{
		RuleID: q.Get("rule_id"), AgentID: q.Get("agent_id"), Host: q.Get("host"), Text: q.Get("text"), Level: q.list("level", picket.AlertLevels()),
		Since: q.timeParam("since", s.Now()), Until: q.timeParam("until", s.Now()), Limit: q.pageLimit(), Cursor: q.Get("cursor"),
	}
	if q.Has("assignee") {
		assignee := q.Get("assignee")
		aq.Assignee = &assignee
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

// An alertChange is what a request changes of alerts.
type alertChange struct {
	Status   *picket.AlertStatus `json:"status"`
	Assignee *string             `json:"assignee"`
	Note     string              `json:"note"`
}

// update returns the change as an update of the store, and checks its assignee.
func (c *alertChange) update(ctx context.Context, t *triage.Service) (store.AlertUpdate, error) {
	if c.Assignee != nil {
		if err := t.CheckAssignee(ctx, *c.Assignee); err != nil {
			return store.AlertUpdate{}, err
		}
	}
	return store.AlertUpdate{Status: c.Status, Assignee: c.Assignee, Note: c.Note}, nil
}

func (s *Server) updateAlert(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	var body alertChange
	if err := httpapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	u, err := body.update(r.Context(), s.Triage)
	if err != nil {
		return err
	}
	a, err := s.Triage.UpdateAlert(r.Context(), who, r.PathValue("id"), u)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, a)
}

// updateAlerts changes several alerts alike.
func (s *Server) updateAlerts(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	var body struct {
		IDs []string `json:"ids"`
		alertChange
	}
	if err := httpapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	if slices.Contains(body.IDs, "") {
		return fmt.Errorf("the member ids of the body has one that is empty or null: %w", picket.ErrInvalid)
	}
	u, err := body.update(r.Context(), s.Triage)
	if err != nil {
		return err
	}
	updated, failures, err := s.Triage.UpdateAlerts(r.Context(), who, body.IDs, u)
	if err != nil {
		return err
	}
	type failure struct {
		ID    string `json:"id"`
		Error string `json:"error"`
	}
	failed := []failure{}
	for _, f := range failures {
		failed = append(failed, failure{f.ID, httpapi.ClientMessage(f.Err)})
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"updated": updated, "failed": failed})
}

func (s *Server) matches(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	mq := store.MatchQuery{
		AlertID: q.Get("alert_id"), RuleID: q.Get("rule_id"), AgentID: q.Get("agent_id"), EventID: q.Get("event_id"), EventNamespace: q.Get("namespace"),
		Since: q.timeParam("since", s.Now()), Until: q.timeParam("until", s.Now()), Limit: q.pageLimit(), Cursor: q.Get("cursor"),
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
