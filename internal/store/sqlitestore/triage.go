package sqlitestore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// UpdateAlert implements store.Alerts.
func (s *Store) UpdateAlert(ctx context.Context, id string, u store.AlertUpdate) (picket.Alert, error) {
	if err := u.Validate(); err != nil {
		return picket.Alert{}, fmt.Errorf("update alert %s: %w", id, err)
	}
	var out picket.Alert
	err := s.writer.transact(ctx, func(t *tx) error {
		a, err := scanAlert(t.writer.queryRow("SELECT "+alertColumns+" FROM alerts WHERE id = ?", id))
		if err != nil {
			return mapNoRows(err)
		}
		before := a.Alert
		if err := u.Apply(&a.Alert); err != nil {
			return err
		}
		out = a.Alert
		return t.updateTriage(&a, &before)
	})
	if err != nil {
		return picket.Alert{}, fmt.Errorf("update alert %s: %w", id, err)
	}
	return out, nil
}

// updateTriage writes an alert after triage, and the counters.
func (t *tx) updateTriage(a *alertRow, before *picket.Alert) error {
	reopened := before.Status.Closed() && !a.Status.Closed()
	if reopened {
		var newer bool
		err := t.writer.queryRow("SELECT EXISTS (SELECT 1 FROM alerts WHERE rule_id = ? AND agent_id = ? AND host = ? AND closed = 0)",
			a.RuleID, a.AgentID, a.Host).Scan(&newer)
		if err != nil {
			return err
		}
		if newer {
			return fmt.Errorf("a newer alert of its rule and host is open: %w", picket.ErrConflict)
		}
	}
	notes, err := json.Marshal(a.Notes)
	if err != nil {
		return err
	}
	_, err = t.exec("UPDATE alerts SET status = ?, closed = ?, assignee = ?, updated = ?, notes = ? WHERE n = ?",
		a.Status, a.Status.Closed(), a.Assignee, block.Micros(a.Updated), string(notes), a.n)
	if err != nil || a.Status == before.Status {
		return err
	}
	if err := t.addAlertStats(before, before.Status, -1, -before.Count); err != nil {
		return err
	}
	if err := t.addAlertStats(&a.Alert, a.Status, 1, a.Count); err != nil {
		return err
	}
	switch {
	case reopened:
		return t.addHostOpenAlerts(&a.Alert, 1)
	case !before.Status.Closed() && a.Status.Closed():
		return t.addHostOpenAlerts(&a.Alert, -1)
	}
	return nil
}
