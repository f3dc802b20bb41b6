package legacy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

// timeline lists the events of the alert's agent from 30 minutes before the
// alert to 30 minutes after it.
func (d *Dashboard) timeline(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	a, err := d.Store.Alert(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	where := &store.PatternTerm{Field: "agent_id", Pattern: store.NewPattern(a.AgentID)}
	since, until := a.FirstSeen.Add(-30*time.Minute), a.FirstSeen.Add(30*time.Minute)
	page, err := d.Store.SearchEvents(r.Context(), store.EventQuery{Where: where, Since: since, Until: until, Limit: maxRows})
	if err != nil {
		return err
	}
	matches, err := d.Store.Matches(r.Context(), store.MatchQuery{AlertID: a.ID, Limit: maxRows})
	if err != nil {
		return err
	}
	matched := make(map[string]bool)
	for _, m := range matches.Matches {
		matched[m.EventKey()] = true
	}
	// The pattern ignores case and knows wildcards: it may select other agents.
	page.Events = slices.DeleteFunc(page.Events, func(ev picket.Event) bool { return ev.AgentID != a.AgentID })
	slices.SortStableFunc(page.Events, func(x, y picket.Event) int { return x.Time.Compare(y.Time) })
	rows := []object{}
	for i := range page.Events {
		ev := &page.Events[i]
		rows = append(rows, object{
			{"event_id", ev.ID}, {"type", ev.Type}, {"timestamp", isoUTC(ev.Time)}, {"timestamp_local", isoLocal(ev.Time)},
			{"severity", severityOf(ev)}, {"is_alert", matched[ev.Key()]},
		})
	}
	pythonTime := func(t time.Time) string { return strings.Replace(isoUTC(t), "T", " ", 1) }
	return pythonJSON(w, http.StatusOK, object{
		{"alert_id", a.ID}, {"endpoint", a.AgentID}, {"time_window", pythonTime(since) + " to " + pythonTime(until)},
		{"event_count", len(rows)}, {"timeline", rows},
	})
}

// severityOf returns the severity that the sender gave the event. picket itself
// does not use it.
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
