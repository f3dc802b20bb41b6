package sqlitestore

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// An alertKey identifies the open alert that a match joins.
type alertKey struct{ rule, agent, host string }

// An openAlert is an alert to which matches are being added.
type openAlert struct {
	alertRow
	isNew bool
	added int64
}

// saveMatches adds a batch's matches to the alerts that they join or open.
func (t *tx) saveMatches(b *dedupedBatch) error {
	open := make(map[alertKey]*openAlert)
	var changed []*openAlert
	for i := range b.matches {
		m := &b.matches[i]
		agent := cmp.Or(m.AlertAgent, m.AgentID)
		key := alertKey{m.RuleID, agent, m.Host}
		a := open[key]
		if a == nil {
			var err error
			if a, err = t.findOrOpenAlertWithinQuota(b, m, agent, open); err != nil {
				return fmt.Errorf("look up alert of rule %s: %w", m.RuleID, err)
			}
			open[key] = a
		}
		if b.replay && a.kept >= picket.MaxStoredMatchesPerAlert {
			continue
		}
		isNew, err := t.saveMatch(b, a, m)
		if err != nil {
			return fmt.Errorf("write match %s: %w", m.ID, err)
		}
		if !isNew {
			continue
		}
		if a.added == 0 {
			changed = append(changed, a)
		}
		a.countMatch(m, block.Micros(t.now))
		b.newMatches++
	}
	for _, a := range changed {
		if err := t.updateAlert(a); err != nil {
			return fmt.Errorf("write alert %s: %w", a.ID, err)
		}
		if a.isNew {
			b.opened = append(b.opened, a.Alert)
		}
	}
	return nil
}

// findOrOpenAlertWithinQuota returns the alert that a match joins, or a new one, which is inserted
// with its first match. Past the quota of its sender it is the alert that gathers such
// matches.
func (t *tx) findOrOpenAlertWithinQuota(b *dedupedBatch, m *picket.Match, agent string, open map[alertKey]*openAlert) (*openAlert, error) {
	a := picket.Alert{RuleID: m.RuleID, Title: m.Title, Level: m.Level, Tags: m.Tags, AgentID: agent, Host: m.Host}
	found, err := t.findOpenAlert(&a)
	if found != nil || err != nil {
		return found, err
	}
	if opens := t.quota.AlertOrGathering(b.sender, a); opens.RuleID != a.RuleID {
		a = opens
		key := alertKey{a.RuleID, a.AgentID, a.Host}
		if open[key] == nil {
			if open[key], err = t.findOpenAlert(&a); err != nil {
				return nil, err
			}
		}
		if open[key] == nil {
			open[key] = t.newAlert(a)
		}
		return open[key], nil
	}
	return t.newAlert(a), nil
}

// findOpenAlert returns the alert of a's rule, agent and host that is not closed, nil if
// there is none.
func (t *tx) findOpenAlert(a *picket.Alert) (*openAlert, error) {
	row, err := scanAlert(t.writer.queryRow("SELECT "+alertColumns+" FROM alerts WHERE rule_id = ? AND agent_id = ? AND host = ? AND closed = 0",
		a.RuleID, a.AgentID, a.Host))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &openAlert{alertRow: row}, nil
}

func (t *tx) newAlert(a picket.Alert) *openAlert {
	a.Status, a.Opened = picket.StatusOpen, block.FromMicros(block.Micros(t.now))
	if a.Tags == nil {
		a.Tags = []string{}
	}
	return &openAlert{alertRow: alertRow{Alert: a}, isNew: true}
}

// saveMatch inserts a match, unless its alert has enough of them, and reports
// whether it is new.
func (t *tx) saveMatch(b *dedupedBatch, a *openAlert, m *picket.Match) (bool, error) {
	opens := a.isNew && a.added == 0
	if a.kept >= picket.MaxStoredMatchesPerAlert || !t.quota.AddMatch(b.sender, m) && !opens {
		return true, nil // its event is new, so it has not been counted before
	}
	if a.n == 0 {
		if err := t.writer.queryRow("SELECT coalesce(max(n), 0) + 1 FROM alerts").Scan(&a.n); err != nil {
			return false, err
		}
	}
	why, err := json.Marshal(m.Why)
	if err != nil {
		return false, err
	}
	n, err := t.exec(`INSERT INTO matches (id, alert, rule_id, event_id, event_namespace, agent_id, time, why)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, m.ID, a.n, m.RuleID, m.EventID, m.EventNamespace, m.AgentID, block.Micros(m.Time), why)
	if err != nil || n == 0 {
		return false, err
	}
	a.kept++
	if opens {
		a.ID = picket.AlertID(m.ID)
		t.quota.AddAlert(b.sender, &a.Alert)
		return true, t.insertAlert(a)
	}
	return true, nil
}

// countMatch counts a match and updates the alert's times.
func (a *openAlert) countMatch(m *picket.Match, now int64) {
	at := block.FromMicros(block.Micros(m.Time))
	if a.added == 0 && a.isNew {
		a.FirstSeen, a.LastSeen = at, at
	}
	if at.Before(a.FirstSeen) {
		a.FirstSeen = at
	}
	if at.After(a.LastSeen) {
		a.LastSeen = at
	}
	a.Updated = block.FromMicros(now)
	a.Count++
	a.added++
}

// insertAlert inserts the row of a new alert.
func (t *tx) insertAlert(a *openAlert) error {
	tags, err := json.Marshal(a.Tags)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO alerts (n, id, rule_id, title, level, tags, agent_id, host, status, closed, assignee,
		count, kept, first_seen, last_seen, opened, updated, notes, folded)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0, 0, 0, 0, ?, 0, '[]', ?)`,
		a.n, a.ID, a.RuleID, a.Title, a.Level, string(tags), a.AgentID, a.Host, a.Status, block.Micros(a.Opened),
		store.AlertSearchText(&a.Alert))
	return err
}

// updateAlert writes what the matches have changed in an alert, and the counters.
func (t *tx) updateAlert(a *openAlert) error {
	_, err := t.exec("UPDATE alerts SET count = ?, kept = ?, first_seen = ?, last_seen = ?, updated = ? WHERE n = ?",
		a.Count, a.kept, block.Micros(a.FirstSeen), block.Micros(a.LastSeen), block.Micros(a.Updated), a.n)
	if err != nil {
		return err
	}
	opened := int64(0)
	if a.isNew {
		opened = 1
		if err := t.addRollup(store.StartOfMinuteMicros(block.Micros(a.Opened)), rollupAlerts, a.Level.String(), 1); err != nil {
			return err
		}
		if err := t.addHostOpenAlerts(&a.Alert, 1); err != nil {
			return err
		}
	}
	return t.addAlertStats(&a.Alert, a.Status, opened, a.added)
}

// addAlertStats adds to the counters of a rule's alerts in a status.
func (t *tx) addAlertStats(a *picket.Alert, status picket.AlertStatus, alerts, matches int64) error {
	_, err := t.exec(`INSERT INTO alert_stats (rule_id, level, status, title, alerts, matches) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET alerts = alerts + excluded.alerts, matches = matches + excluded.matches, title = excluded.title`,
		a.RuleID, a.Level, status, a.Title, alerts, matches)
	return err
}

// addHostOpenAlerts adds to the number of open alerts of an alert's host.
func (t *tx) addHostOpenAlerts(a *picket.Alert, n int) error {
	_, err := t.exec("UPDATE hosts SET alerts = alerts + ? WHERE name = ? AND agent_id = ?", n, a.Host, a.AgentID)
	return err
}
