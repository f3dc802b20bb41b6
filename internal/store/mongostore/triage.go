package mongostore

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// UpdateAlert implements store.Alerts.
func (s *Store) UpdateAlert(ctx context.Context, id string, u store.AlertUpdate) (picket.Alert, error) {
	if err := u.Validate(); err != nil {
		return picket.Alert{}, fmt.Errorf("update alert %s: %w", id, err)
	}
	var out picket.Alert
	err := s.runStep(ctx, func(ctx context.Context, t *txn) (bool, error) {
		doc, err := findOne[alertDoc](ctx, s.alerts, byID(id))
		if err != nil {
			return false, err
		}
		before := doc.alert()
		set := newTxnReads()
		set.addAlert(before.RuleID, before.AgentID, before.Host)
		if err := t.readDocs(ctx, set); err != nil {
			return false, err
		}
		out = doc.alert()
		if err := u.Apply(&out); err != nil {
			return false, err
		}
		return true, t.updateTriage(&doc, &before, &out)
	})
	if err != nil {
		return picket.Alert{}, fmt.Errorf("update alert %s: %w", id, err)
	}
	return out, nil
}

// updateTriage changes the document of an alert to a, and the counters.
func (t *txn) updateTriage(doc *alertDoc, before, a *picket.Alert) error {
	wasOpen, isOpen := !before.Status.Closed(), !a.Status.Closed()
	if isOpen && !wasOpen && t.alerts[openAlertKey(a.RuleID, a.AgentID, a.Host)] != nil {
		return fmt.Errorf("a newer alert of its rule and host is open: %w", picket.ErrConflict)
	}
	clear(t.alerts)
	doc.set(a)
	doc.Step = t.step
	t.alerts[doc.UniqueKey] = doc
	if a.Status == before.Status {
		return nil
	}
	t.totals.countAlert(before, -1)
	t.totals.countAlert(a, 1)
	n := int64(0)
	switch {
	case isOpen && !wasOpen:
		n = 1
	case wasOpen && !isOpen:
		n = -1
	default:
		return nil
	}
	r := t.ruleForUpdate(a)
	r.Alerts += n
	r.Matches += n * a.Count
	if h := t.existingHostForUpdate(a); h != nil {
		h.Alerts += n
	}
	return nil
}
