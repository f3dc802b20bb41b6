package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
)

// A parseError is a body that is not the JSON it should be.
type parseError struct{ error }

// legacyBody reads a small JSON body.
func legacyBody(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return parseError{err}
	}
	return nil
}

// legacyError is a 400 with the old text alone.
func legacyError(text string) error {
	return &httpapi.Error{Status: http.StatusBadRequest, Err: errors.New(text)}
}

func (s *Server) legacyStatus(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	if _, err := s.Store.Alert(r.Context(), id); err != nil {
		return err
	}
	var body struct{ Status, Note string }
	if err := legacyBody(w, r, &body); err != nil {
		return err
	}
	status, _ := statusOfLegacy(body.Status)
	if !status.Closed() {
		return legacyError("Invalid status")
	}
	if _, err := s.triage(r, who, id, store.AlertUpdate{Status: &status, Note: body.Note}); err != nil {
		return err
	}
	return pythonJSON(w, http.StatusOK, object{{"success", true}, {"alert_id", id}, {"new_status", body.Status}})
}

func (s *Server) legacyAssign(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	if _, err := s.Store.Alert(r.Context(), id); err != nil {
		return err
	}
	body := struct {
		Analyst *string `json:"analyst_email"`
	}{}
	if err := legacyBody(w, r, &body); err != nil {
		return err
	}
	analyst := who.Subject
	if body.Analyst != nil && *body.Analyst != "" {
		analyst = *body.Analyst
	}
	if err := s.assign(r, who, id, analyst, ""); err != nil {
		return err
	}
	return pythonJSON(w, http.StatusOK, object{{"success", true}, {"alert_id", id}, {"assigned_to", analyst}})
}

// assign gives an alert to somebody, which is to investigate it.
func (s *Server) assign(r *http.Request, who auth.Identity, id, analyst, note string) error {
	status := picket.StatusInvestigating
	_, err := s.triage(r, who, id, store.AlertUpdate{Status: &status, Assignee: &analyst, Note: note})
	return err
}

func (s *Server) legacyNote(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	if _, err := s.Store.Alert(r.Context(), id); err != nil {
		return err
	}
	var body struct{ Note string }
	if err := legacyBody(w, r, &body); err != nil {
		return err
	}
	if body.Note == "" {
		return legacyError("Note cannot be empty")
	}
	if len(body.Note) > maxNote {
		return legacyError("Note is too long")
	}
	if _, err := s.triage(r, who, id, store.AlertUpdate{Note: body.Note}); err != nil {
		return err
	}
	return pythonJSON(w, http.StatusOK, object{{"success", true}, {"alert_id", id}, {"note_added", body.Note}})
}

func (s *Server) legacyBulk(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	var body struct {
		IDs      []string `json:"alert_ids"`
		Action   string   `json:"action"`
		Note     string   `json:"note"`
		Assignee string   `json:"assignee"`
	}
	if err := legacyBody(w, r, &body); err != nil {
		return err
	}
	if len(body.IDs) == 0 || body.Action == "" {
		return legacyError("Missing alert_ids or action")
	}
	do := map[string]func(id string) error{
		"resolve":        func(id string) error { return s.close(r, who, id, picket.StatusResolved, body.Note) },
		"false_positive": func(id string) error { return s.close(r, who, id, picket.StatusFalsePositive, body.Note) },
		"assign":         func(id string) error { return s.assign(r, who, id, body.Assignee, body.Note) },
	}[body.Action]
	switch {
	case do == nil:
		return legacyError("Invalid action. Must be one of: resolve, false_positive, assign")
	case body.Action == "assign" && body.Assignee == "":
		return legacyError("Missing assignee email")
	case len(body.IDs) > maxLimit || len(body.Note) > maxNote || len(body.Assignee) > maxAssignee:
		return legacyError("Too many alert_ids, or note or assignee too long")
	}
	done, missing, errs := 0, 0, []string{}
	for _, id := range body.IDs {
		switch err := do(id); {
		case err == nil:
			done++
		case errors.Is(err, picket.ErrNotFound):
			missing++
			errs = append(errs, fmt.Sprintf("Alert %s not found", id))
		default:
			errs = append(errs, fmt.Sprintf("Error processing %s: %s", id, httpapi.Message(err)))
		}
	}
	if done == 0 && missing == len(body.IDs) {
		return pythonJSON(w, http.StatusNotFound, object{{"error", "No matching alerts found to update"}})
	}
	return pythonJSON(w, http.StatusOK, object{{"success_count", done}, {"total_requested", len(body.IDs)}, {"errors", errs}})
}

func (s *Server) close(r *http.Request, who auth.Identity, id string, status picket.AlertStatus, note string) error {
	_, err := s.triage(r, who, id, store.AlertUpdate{Status: &status, Note: note})
	return err
}

func (s *Server) legacyToggle(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	on, off := s.Rules.List()
	enable := false
	for _, rule := range off {
		enable = enable || rule.ID == id
	}
	found := enable
	for _, rule := range on {
		found = found || rule.ID == id
	}
	if !found {
		return pythonJSON(w, http.StatusNotFound, object{{"error", "Rule not found"}})
	}
	if err := s.Rules.Switch(r.Context(), id, enable); err != nil {
		return err
	}
	s.audit(r.Context(), who, "rule.switch", id, fmt.Sprintf("enabled=%t", enable))
	return pythonJSON(w, http.StatusOK, object{{"success", true}, {"rule_id", id}, {"enabled", enable}})
}

// legacyTimeline lists what the alert's host sent in the half hours before and
// after it.
func (s *Server) legacyTimeline(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	a, err := s.Store.Alert(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	where := &store.PatternTerm{Field: "agent_id", Pattern: store.NewPattern(a.AgentID)}
	since, until := a.FirstSeen.Add(-30*time.Minute), a.FirstSeen.Add(30*time.Minute)
	page, err := s.Store.SearchEvents(r.Context(), store.EventQuery{Where: where, Since: since, Until: until, Limit: maxLimit})
	if err != nil {
		return err
	}
	matches, err := s.Store.Matches(r.Context(), store.MatchQuery{AlertID: a.ID, Limit: maxLimit})
	if err != nil {
		return err
	}
	matched := make(map[string]bool)
	for _, m := range matches.Matches {
		matched[m.EventID] = true
	}
	// Without case, and with wildcards, a pattern may select others' too.
	page.Events = slices.DeleteFunc(page.Events, func(ev picket.Event) bool { return ev.AgentID != a.AgentID })
	slices.SortStableFunc(page.Events, func(x, y picket.Event) int { return x.Time.Compare(y.Time) })
	rows := []object{}
	for i := range page.Events {
		ev := &page.Events[i]
		rows = append(rows, object{
			{"event_id", ev.ID}, {"type", ev.Type}, {"timestamp", isoUTC(ev.Time)}, {"timestamp_local", isoLocal(ev.Time)},
			{"severity", severityOf(ev)}, {"is_alert", matched[ev.ID]},
		})
	}
	pythonTime := func(t time.Time) string { return strings.Replace(isoUTC(t), "T", " ", 1) }
	return pythonJSON(w, http.StatusOK, object{
		{"alert_id", a.ID}, {"endpoint", a.AgentID}, {"time_window", pythonTime(since) + " to " + pythonTime(until)},
		{"event_count", len(rows)}, {"timeline", rows},
	})
}

// severityOf is what the event's sender called its severity, which picket
// itself makes nothing of.
func severityOf(ev *picket.Event) string {
	for _, f := range ev.Fields {
		if f.Name == "severity" {
			return f.Value.Text
		}
	}
	var v struct{ Severity any }
	if json.Unmarshal(ev.Raw, &v) == nil && v.Severity != nil {
		return fmt.Sprint(v.Severity)
	}
	return "info"
}

// legacySearch finds up to five alerts and five agents by a part of a name.
func (s *Server) legacySearch(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	alerts, endpoints := []object{}, []string{}
	if text := strings.TrimSpace(r.URL.Query().Get("q")); utf8.RuneCountInString(text) >= 2 {
		page, err := s.Store.Alerts(r.Context(), store.AlertQuery{Text: text, Limit: 5})
		if err != nil {
			return err
		}
		hosts, err := s.Store.Hosts(r.Context(), text, 5, "")
		if err != nil {
			return err
		}
		known := func(agent string) {
			if len(endpoints) < 5 && !slices.Contains(endpoints, agent) {
				endpoints = append(endpoints, agent)
			}
		}
		for _, a := range page.Alerts {
			alerts = append(alerts, object{
				{"alert_id", a.ID}, {"severity", legacySeverity(a.Level)}, {"rule_name", a.Title}, {"endpoint_id", a.AgentID},
				{"status", legacyStatuses[a.Status]},
			})
			if strings.Contains(strings.ToLower(a.AgentID), strings.ToLower(text)) {
				known(a.AgentID)
			}
		}
		for _, h := range hosts.Hosts {
			known(h.AgentID)
		}
	}
	return pythonJSON(w, http.StatusOK, object{{"alerts", alerts}, {"endpoints", endpoints}})
}
