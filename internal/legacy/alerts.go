package legacy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

func (d *Dashboard) stats(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	t, err := d.Store.Totals(r.Context())
	if err != nil {
		return err
	}
	c, err := d.Store.AlertCounts(r.Context())
	if err != nil {
		return err
	}
	on, off := d.Rules.List()
	rate := 0.0
	if t.Stored > 0 {
		rate = float64(c.Total) / float64(t.Stored) * 100
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{
		{"total_events", t.Stored}, {"total_rules", len(on) + len(off)}, {"active_rules", len(on)},
		{"total_alerts", c.Total}, {"unresolved_alerts", c.ByStatus[picket.StatusOpen]}, {"critical_alerts", c.ByLevel[picket.StatusOpen]["critical"]},
		{"detection_rate", fmt.Sprintf("%.2f%%", rate)},
	})
}

func (d *Dashboard) alerts(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := r.URL.Query()
	status, limit := q.Get("status"), 20
	if status == "" {
		status = "UNRESOLVED"
	}
	if v := q.Get("limit"); q.Has("limit") {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("limit is %q, not a number: %w", v, picket.ErrInvalid)
		}
		limit = min(int(n), maxAnswerRows)
	}
	rows := []orderedObject{}
	known, ok := parseStatus(status)
	if ok && limit > 0 {
		aq := store.AlertQuery{Status: []picket.AlertStatus{known}, Limit: limit}
		if v := q.Get("severity"); v != "" {
			aq.Level = []string{strings.ToLower(v)}
			if v == "LOW" {
				aq.Level = append(aq.Level, sigma.Informational.String())
			}
		}
		for more := true; more; {
			page, err := d.Store.Alerts(r.Context(), aq)
			if err != nil {
				return err
			}
			for _, a := range page.Alerts {
				rows = append(rows, orderedObject{
					{"alert_id", a.ID}, {"severity", severityName(a.Level)}, {"rule_name", truncateListed(a.Title)}, {"endpoint_id", a.AgentID},
					{"hostname", a.Host}, {"status", legacyStatusNames[a.Status]}, {"time_ago", d.timeAgo(a.FirstSeen)},
					{"first_detected", isoUTCWithoutZone(a.FirstSeen)}, {"first_detected_local", isoLocalWithZone(a.FirstSeen)},
					{"last_detected", isoUTCWithoutZone(a.LastSeen)}, {"last_detected_local", isoLocalWithZone(a.LastSeen)},
				})
			}
			aq.Cursor, aq.Limit = page.Next, aq.Limit-len(page.Alerts)
			more = aq.Cursor != "" && aq.Limit > 0
		}
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{{"count", len(rows)}, {"alerts", rows}})
}

// truncateListed returns a text as lists show it: strings.Clone lets go of the rest.
func truncateListed(s string) string {
	if len(s) <= store.MaxListedValueBytes {
		return s
	}
	return strings.ToValidUTF8(strings.Clone(s[:store.MaxListedValueBytes]), "")
}

func (d *Dashboard) alert(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	a, err := d.Store.Alert(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	page, err := d.Store.Matches(r.Context(), store.MatchQuery{AlertID: a.ID, Limit: 10})
	if err != nil {
		return err
	}
	indicators, eventIDs := []orderedObject{}, []string{}
	for _, m := range page.Matches {
		eventIDs = append(eventIDs, m.EventID)
		for _, e := range m.Why {
			indicators = append(indicators, orderedObject{{"field", e.Field}, {"value", e.Value}})
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
	notes := []orderedObject{}
	for _, n := range a.Notes {
		notes = append(notes, orderedObject{{"timestamp", isoUTCWithoutZone(n.Time)}, {"analyst", strings.TrimPrefix(n.Author, auth.KindAPI+":")}, {"text", n.Text}})
	}
	var assigned any
	if a.Assignee != "" {
		assigned = a.Assignee
	}
	return writePythonJSON(w, http.StatusOK, orderedObject{
		{"alert_id", a.ID}, {"rule_id", a.RuleID}, {"rule_name", a.Title}, {"severity", severityName(a.Level)},
		{"confidence", confidenceByLevel[a.Level]}, {"status", legacyStatusNames[a.Status]},
		{"endpoint_id", a.AgentID}, {"hostname", a.Host},
		{"mitre_tactics", tactics}, {"mitre_techniques", techniques},
		{"evidence", orderedObject{{"matched_indicators", indicators}, {"event_ids", eventIDs}}}, {"matched_indicators", indicators},
		{"first_detected", isoUTCWithoutZone(a.FirstSeen)}, {"first_detected_local", isoLocalWithZone(a.FirstSeen)},
		{"last_detected", isoUTCWithoutZone(a.LastSeen)}, {"last_detected_local", isoLocalWithZone(a.LastSeen)},
		{"occurrence_count", a.Count}, {"assigned_analyst", assigned}, {"notes", notes},
	})
}

// confidenceByLevel stands in for the legacy rules' confidence, which Sigma rules do
// not have.
var confidenceByLevel = map[sigma.Level]float64{
	sigma.Informational: 0.1, sigma.Low: 0.3, sigma.Medium: 0.5, sigma.High: 0.8, sigma.Critical: 0.95,
}
