package legacy

import (
	"context"
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

// eventsAroundAlert lists the events of the alert's agent from 30 minutes before the
// alert to 30 minutes after it.
func (d *Dashboard) eventsAroundAlert(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	a, err := d.Store.Alert(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	since, until := a.FirstSeen.Add(-30*time.Minute), a.FirstSeen.Add(30*time.Minute)
	matched, err := d.matchedEventKeys(r.Context(), a.ID)
	if err != nil {
		return err
	}
	events, err := d.timelineEvents(r.Context(), a.AgentID, since, until)
	if err != nil {
		return err
	}
	slices.SortStableFunc(events, func(x, y timelineEvent) int { return x.at.Compare(y.at) })
	rows := []orderedObject{}
	for _, ev := range events {
		rows = append(rows, orderedObject{
			{"event_id", ev.id}, {"type", ev.eventType}, {"timestamp", isoUTCWithoutZone(ev.at)}, {"timestamp_local", isoLocalWithZone(ev.at)},
			{"severity", ev.severity}, {"is_alert", matched[ev.key]},
		})
	}
	pythonTime := func(t time.Time) string { return strings.Replace(isoUTCWithoutZone(t), "T", " ", 1) }
	return writePythonJSON(w, http.StatusOK, orderedObject{
		{"alert_id", a.ID}, {"endpoint", a.AgentID}, {"time_window", pythonTime(since) + " to " + pythonTime(until)},
		{"event_count", len(rows)}, {"timeline", rows},
	})
}

// matchedEventKeys returns the keys of the events of an alert's newest matches.
func (d *Dashboard) matchedEventKeys(ctx context.Context, alertID string) (map[string]bool, error) {
	keys := make(map[string]bool)
	for q := (store.MatchQuery{AlertID: alertID, Limit: maxAnswerRows}); ; {
		page, err := d.Store.Matches(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page.Matches {
			keys[page.Matches[i].EventKey()] = true
		}
		if q.Cursor, q.Limit = page.Next, q.Limit-len(page.Matches); q.Cursor == "" || q.Limit <= 0 {
			return keys, nil
		}
	}
}

// A timelineEvent is what a timeline shows of an event.
type timelineEvent struct {
	id, key, eventType, severity string
	at                           time.Time
}

// timelineEvents returns the newest maxAnswerRows events of an agent in a time range. It
// reads them in pages, because they may be large.
func (d *Dashboard) timelineEvents(ctx context.Context, agentID string, since, until time.Time) ([]timelineEvent, error) {
	var events []timelineEvent
	q := store.EventQuery{Where: &store.PatternTerm{Field: "agent_id", Pattern: store.NewPattern(agentID)}, Since: since, Until: until,
		Limit: maxAnswerRows, OnlyFields: []string{"severity"}}
	for {
		page, err := d.Store.SearchEvents(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page.Events {
			// The pattern ignores case and knows wildcards: it may select other agents.
			if ev := &page.Events[i]; ev.AgentID == agentID {
				events = append(events, timelineEvent{ev.ID, ev.Key(), ev.Type, senderSeverity(ev), ev.Time})
			}
		}
		if q.Cursor, q.Limit = page.Next, q.Limit-len(page.Events); q.Cursor == "" || q.Limit <= 0 {
			return events, nil
		}
	}
}

// senderSeverity returns the severity that the sender gave the event. picket itself
// does not use it.
func senderSeverity(ev *picket.Event) string {
	for _, f := range ev.Fields {
		if f.Name == "severity" {
			return f.Value.Text
		}
	}
	var v struct{ Severity any }
	if json.Unmarshal(ev.Raw, &v) == nil && v.Severity != nil {
		s := fmt.Sprint(v.Severity)
		return s[:min(len(s), store.MaxListedValueBytes)]
	}
	return "info"
}
