package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// The dashboard of the replaced system: its paths, fields and errors.

// legacyRoutes adds the replaced system's paths.
func (s *Server) legacyRoutes(mux *httpapi.Mux) {
	handle := func(pattern, role string, h handler) {
		mux.Handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
			who, err := s.identify(r)
			if err != nil {
				return err
			}
			if !who.Can(role) { // which is how it refused a role
				http.Redirect(w, r, "/dashboard/", http.StatusFound)
				return nil
			}
			return h(w, r, who)
		}, writeLegacy)
	}
	mux.Handle("GET /api/v1/health/{$}", func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.JSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}, writeLegacy)
	handle("GET /api/v1/dashboard/stats/{$}", auth.RoleViewer, s.legacyStats)
	handle("GET /api/v1/dashboard/alerts/{$}", auth.RoleViewer, s.legacyAlerts)
	handle("GET /api/v1/dashboard/alerts/{id}/{$}", auth.RoleViewer, s.legacyAlert)
	handle("GET /api/v1/alerts/{id}/timeline/{$}", auth.RoleViewer, s.legacyTimeline)
	handle("GET /api/v1/dashboard/alerts/{id}/timeline/{$}", auth.RoleViewer, s.legacyTimeline)
	for _, base := range []string{"/api/v1/alerts/", "/api/v1/dashboard/alerts/"} {
		handle("POST "+base+"{id}/status/{$}", auth.RoleAnalyst, s.legacyStatus)
		handle("POST "+base+"{id}/assign/{$}", auth.RoleAnalyst, s.legacyAssign)
		handle("POST "+base+"{id}/note/{$}", auth.RoleAnalyst, s.legacyNote)
	}
	handle("POST /api/v1/alerts/bulk/{$}", auth.RoleAnalyst, s.legacyBulk)
	handle("POST /api/v1/dashboard/rules/{id}/toggle/{$}", auth.RoleAnalyst, s.legacyToggle)
	handle("GET /api/v1/search/{$}", auth.RoleViewer, s.legacySearch)
}

// writeLegacy answers an error as the replaced system's framework did on paths
// that also take a session: 403 for want of credentials.
func writeLegacy(w http.ResponseWriter, r *http.Request, err error) {
	detail := func(text string) { httpapi.JSON(w, http.StatusForbidden, map[string]string{"detail": text}) }
	_, malformed := errors.AsType[parseError](err)
	switch {
	case malformed:
		httpapi.JSON(w, http.StatusBadRequest, map[string]string{"detail": "JSON parse error - " + err.Error()})
	case errors.Is(err, auth.ErrUnauthenticated):
		detail(httpapi.Detail(r, err))
	case errors.Is(err, auth.ErrForbidden):
		detail("You do not have permission to perform this action.")
	case errors.Is(err, picket.ErrNotFound):
		pythonJSON(w, http.StatusNotFound, object{{"error", "Alert not found"}})
	default:
		httpapi.SetErrorHeaders(w, err)
		pythonJSON(w, httpapi.Status(err), object{{"error", httpapi.Message(err)}})
	}
}

var legacyStatuses = map[picket.AlertStatus]string{
	picket.StatusOpen: "UNRESOLVED", picket.StatusInvestigating: "INVESTIGATING",
	picket.StatusResolved: "RESOLVED", picket.StatusFalsePositive: "FALSE_POSITIVE",
}

func statusOfLegacy(s string) (picket.AlertStatus, bool) {
	for status, name := range legacyStatuses {
		if name == s {
			return status, true
		}
	}
	return "", false
}

// legacySeverity is the old name of a level: the old system had no
// "informational".
func legacySeverity(l sigma.Level) string {
	if l == sigma.Informational {
		return "LOW"
	}
	return strings.ToUpper(l.String())
}

func (s *Server) legacyStats(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	t, err := s.Store.Totals(r.Context())
	if err != nil {
		return err
	}
	c, err := s.Store.AlertCounts(r.Context())
	if err != nil {
		return err
	}
	on, off := s.Rules.List()
	rate := 0.0
	if t.Stored > 0 {
		rate = float64(c.Total) / float64(t.Stored) * 100
	}
	return pythonJSON(w, http.StatusOK, object{
		{"total_events", t.Stored}, {"total_rules", len(on) + len(off)}, {"active_rules", len(on)},
		{"total_alerts", c.Total}, {"unresolved_alerts", c.ByStatus[picket.StatusOpen]}, {"critical_alerts", c.ByLevel[picket.StatusOpen]["critical"]},
		{"detection_rate", fmt.Sprintf("%.2f%%", rate)},
	})
}

// isoUTC is Python's isoformat of a time without zone, isoLocal that of one
// with the server's.
func isoUTC(t time.Time) string { return isoformat(t.UTC(), "") }
func isoLocal(t time.Time) string {
	return isoformat(t.Local(), "-07:00")
}

func isoformat(t time.Time, zone string) string {
	if t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05" + zone)
	}
	return t.Format("2006-01-02T15:04:05.000000" + zone)
}

// timeAgo is the replaced system's wording.
func (s *Server) timeAgo(t time.Time) string {
	d := s.Now().Sub(t)
	count := func(n int, unit string) string {
		if n == 1 {
			return fmt.Sprintf("1 %s ago", unit)
		}
		return fmt.Sprintf("%d %ss ago", n, unit)
	}
	switch {
	case d < time.Minute:
		return "Just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 24*time.Hour:
		return count(int(d.Hours()), "hour")
	}
	return count(int(d.Hours())/24, "day")
}

func (s *Server) legacyAlerts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := r.URL.Query()
	status, limit := q.Get("status"), 20
	if status == "" {
		status = "UNRESOLVED"
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return fmt.Errorf("limit is %q, not a number: %w", v, picket.ErrInvalid)
		}
		limit = min(n, maxLimit)
	}
	rows := []object{}
	known, ok := statusOfLegacy(status)
	if ok && limit > 0 {
		aq := store.AlertQuery{Status: []picket.AlertStatus{known}, Limit: limit}
		if v := q.Get("severity"); v != "" {
			aq.Level = []string{strings.ToLower(v)}
			if v == "LOW" {
				aq.Level = append(aq.Level, sigma.Informational.String())
			}
		}
		page, err := s.Store.Alerts(r.Context(), aq)
		if err != nil {
			return err
		}
		for _, a := range page.Alerts {
			rows = append(rows, object{
				{"alert_id", a.ID}, {"severity", legacySeverity(a.Level)}, {"rule_name", a.Title}, {"endpoint_id", a.AgentID},
				{"hostname", a.Host}, {"status", legacyStatuses[a.Status]}, {"time_ago", s.timeAgo(a.FirstSeen)},
				{"first_detected", isoUTC(a.FirstSeen)}, {"first_detected_local", isoLocal(a.FirstSeen)},
				{"last_detected", isoUTC(a.LastSeen)}, {"last_detected_local", isoLocal(a.LastSeen)},
			})
		}
	}
	return pythonJSON(w, http.StatusOK, object{{"count", len(rows)}, {"alerts", rows}})
}

func (s *Server) legacyAlert(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	a, err := s.Store.Alert(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	page, err := s.Store.Matches(r.Context(), store.MatchQuery{AlertID: a.ID, Limit: 10})
	if err != nil {
		return err
	}
	indicators, eventIDs := []object{}, []string{}
	for _, m := range page.Matches {
		eventIDs = append(eventIDs, m.EventID)
		for _, e := range m.Why {
			indicators = append(indicators, object{{"field", e.Field}, {"value", e.Value}})
		}
	}
	tactics, techniques := []string{}, []string{}
	for _, tag := range a.Tags {
		name, ok := strings.CutPrefix(strings.ToLower(tag), "attack.")
		if !ok {
			continue
		}
		if len(name) > 1 && name[0] == 't' && name[1] >= '0' && name[1] <= '9' {
			techniques = append(techniques, strings.ToUpper(name))
		} else {
			tactics = append(tactics, name)
		}
	}
	notes := []object{}
	for _, n := range a.Notes {
		notes = append(notes, object{{"timestamp", isoUTC(n.Time)}, {"analyst", n.Author}, {"text", n.Text}})
	}
	var assigned any
	if a.Assignee != "" {
		assigned = a.Assignee
	}
	return pythonJSON(w, http.StatusOK, object{
		{"alert_id", a.ID}, {"rule_id", a.RuleID}, {"rule_name", a.Title}, {"severity", legacySeverity(a.Level)},
		{"confidence", legacyConfidence[a.Level]}, {"status", legacyStatuses[a.Status]},
		{"endpoint_id", a.AgentID}, {"hostname", a.Host},
		{"mitre_tactics", tactics}, {"mitre_techniques", techniques},
		{"evidence", object{{"matched_indicators", indicators}, {"event_ids", eventIDs}}}, {"matched_indicators", indicators},
		{"first_detected", isoUTC(a.FirstSeen)}, {"first_detected_local", isoLocal(a.FirstSeen)},
		{"last_detected", isoUTC(a.LastSeen)}, {"last_detected_local", isoLocal(a.LastSeen)},
		{"occurrence_count", a.Count}, {"assigned_analyst", assigned}, {"notes", notes},
	})
}

// legacyConfidence stands in for a number that Sigma has none of.
var legacyConfidence = map[sigma.Level]float64{
	sigma.Informational: 0.1, sigma.Low: 0.3, sigma.Medium: 0.5, sigma.High: 0.8, sigma.Critical: 0.95,
}
