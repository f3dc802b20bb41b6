package sqlitestore

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// An alertKey is what matches of one alert have in common.
type alertKey struct{ rule, agent, host string }

// An openAlert is one that matches are being added to.
type openAlert struct {
	alertRow
	isNew bool
	added int64
}

// saveMatches adds a batch's matches to the alerts that they join or open.
func (t *tx) saveMatches(b *saveBatch) error {
	open := make(map[alertKey]*openAlert)
	var order []*openAlert
	for i := range b.matches {
		m := &b.matches[i]
		agent := cmp.Or(m.AlertAgent, m.AgentID)
		key := alertKey{m.RuleID, agent, m.Host}
		a := open[key]
		if a == nil {
			var err error
			if a, err = t.openAlert(m, agent); err != nil {
				return fmt.Errorf("look up alert of rule %s: %w", m.RuleID, err)
			}
			open[key] = a
		}
		if b.replay && a.kept >= picket.AlertMatchLimit {
			continue
		}
		fresh, err := t.saveMatch(a, m)
		if err != nil {
			return fmt.Errorf("write match %s: %w", m.ID, err)
		}
		if !fresh {
			continue
		}
		if a.added == 0 {
			order = append(order, a)
		}
		a.addMatch(m, Micros(t.now))
		b.newMatches++
	}
	for _, a := range order {
		if err := t.updateAlert(a); err != nil {
			return fmt.Errorf("write alert %s: %w", a.ID, err)
		}
		if a.isNew {
			b.opened = append(b.opened, a.Alert)
		}
	}
	return nil
}

// openAlert returns the alert that a match joins, or a new one.
func (t *tx) openAlert(m *picket.Match, agent string) (*openAlert, error) {
	row, err := scanAlert(t.writer.row("SELECT "+alertColumns+" FROM alerts WHERE rule_id = ? AND agent_id = ? AND host = ? AND closed = 0",
		m.RuleID, agent, m.Host))
	if err == nil {
		return &openAlert{alertRow: row}, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	a := &openAlert{isNew: true}
	a.Alert = picket.Alert{
		RuleID: m.RuleID, Title: m.Title, Level: m.Level, Tags: m.Tags, AgentID: agent, Host: m.Host,
		Status: picket.StatusOpen, Opened: FromMicros(Micros(t.now)),
	}
	if a.Tags == nil {
		a.Tags = []string{}
	}
	return a, nil // it gets its row with its first match
}

// saveMatch keeps a match, unless its alert has enough of them, and reports
// whether it is new.
func (t *tx) saveMatch(a *openAlert, m *picket.Match) (bool, error) {
	if a.kept >= picket.AlertMatchLimit {
		return true, nil // of a new event, so it was not counted before
	}
	if a.n == 0 {
		if err := t.writer.row("SELECT coalesce(max(n), 0) + 1 FROM alerts").Scan(&a.n); err != nil {
			return false, err
		}
	}
	why, err := json.Marshal(m.Why)
	if err != nil {
		return false, err
	}
	n, err := t.exec(`INSERT INTO matches (id, alert, rule_id, event_id, agent_id, time, why) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`, m.ID, a.n, m.RuleID, m.EventID, m.AgentID, Micros(m.Time), why)
	if err != nil || n == 0 {
		return false, err
	}
	a.kept++
	if a.isNew && a.added == 0 {
		a.ID = picket.AlertID(m.ID)
		return true, t.insertAlert(a)
	}
	return true, nil
}

func (a *openAlert) addMatch(m *picket.Match, now int64) {
	at := FromMicros(Micros(m.Time))
	if a.added == 0 && a.isNew {
		a.FirstSeen, a.LastSeen = at, at
	}
	if at.Before(a.FirstSeen) {
		a.FirstSeen = at
	}
	if at.After(a.LastSeen) {
		a.LastSeen = at
	}
	a.Updated = FromMicros(now)
	a.Count++
	a.added++
}

// insertAlert gives a new alert its row, at a.n.
func (t *tx) insertAlert(a *openAlert) error {
	tags, err := json.Marshal(a.Tags)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO alerts (n, id, rule_id, title, level, tags, agent_id, host, status, closed, assignee,
		count, kept, first_seen, last_seen, opened, updated, notes, folded)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0, 0, 0, 0, ?, 0, '[]', ?)`,
		a.n, a.ID, a.RuleID, a.Title, a.Level, string(tags), a.AgentID, a.Host, a.Status, Micros(a.Opened),
		foldText(a.Title, a.RuleID, a.Host, a.AgentID))
	return err
}

// updateAlert writes what matches changed of an alert, and counts.
func (t *tx) updateAlert(a *openAlert) error {
	_, err := t.exec("UPDATE alerts SET count = ?, kept = ?, first_seen = ?, last_seen = ?, updated = ? WHERE n = ?",
		a.Count, a.kept, Micros(a.FirstSeen), Micros(a.LastSeen), Micros(a.Updated), a.n)
	if err != nil {
		return err
	}
	opened := int64(0)
	if a.isNew {
		opened = 1
		if err := t.addRollup(minuteOf(Micros(a.Opened)), rollupAlerts, a.Level.String(), 1); err != nil {
			return err
		}
		if err := t.addHostAlerts(a.Host, 1); err != nil {
			return err
		}
	}
	return t.addAlertStats(&a.Alert, a.Status, opened, a.added)
}

// addAlertStats adds to the counters of an alert's rule in a status.
func (t *tx) addAlertStats(a *picket.Alert, status picket.AlertStatus, alerts, matches int64) error {
	_, err := t.exec(`INSERT INTO alert_stats (rule_id, level, status, title, alerts, matches) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET alerts = alerts + excluded.alerts, matches = matches + excluded.matches, title = excluded.title`,
		a.RuleID, a.Level, status, a.Title, alerts, matches)
	return err
}

func (t *tx) addHostAlerts(host string, n int) error {
	_, err := t.exec("UPDATE hosts SET alerts = alerts + ? WHERE name = ?", n, host)
	return err
}

// foldText folds texts for a search without case. A line end keeps a search
// from matching across two of them.
func foldText(texts ...string) string {
	var out []byte
	for i, s := range texts {
		if i > 0 {
			out = append(out, '\n')
		}
		out = store.AppendFold(out, s)
	}
	return string(out)
}
