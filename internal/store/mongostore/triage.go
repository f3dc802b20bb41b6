package mongostore

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// UpdateAlert implements store.Alerts.
func (s *Store) UpdateAlert(ctx context.Context, id string, u store.AlertUpdate) (picket.Alert, error) {
	if u.Status != nil && !u.Status.Valid() {
		return picket.Alert{}, fmt.Errorf("update alert %s: no status is called %q: %w", id, *u.Status, picket.ErrInvalid)
	}
	var out picket.Alert
	err := s.change(ctx, func(ctx context.Context, d *draft) (bool, error) {
		doc, err := one[alertDoc](ctx, s.alerts, byID(id))
		if err != nil {
			return false, err
		}
		before := doc.alert()
		need := newNeeds()
		need.alert(before.RuleID, before.AgentID, before.Host)
		if err := d.read(ctx, need); err != nil {
			return false, err
		}
		out = doc.alert()
		u.Apply(&out)
		return true, d.putTriage(&doc, &before, &out)
	})
	if err != nil {
		return picket.Alert{}, fmt.Errorf("update alert %s: %w", id, err)
	}
	return out, nil
}

// putTriage drafts the alert as it is after triage, and the counters.
func (d *draft) putTriage(doc *alertDoc, before, a *picket.Alert) error {
	was, is := !before.Status.Closed(), !a.Status.Closed()
	if is && !was && d.alerts[slot(a.RuleID, a.AgentID, a.Host)] != nil {
		return fmt.Errorf("a newer alert of its rule and host is open: %w", picket.ErrConflict)
	}
	clear(d.alerts)
	doc.put(a)
	doc.Step = d.step
	d.alerts[doc.Slot] = doc
	if a.Status == before.Status {
		return nil
	}
	d.totals.countAlert(before, -1)
	d.totals.countAlert(a, 1)
	n := int64(0)
	switch {
	case is && !was:
		n = 1
	case was && !is:
		n = -1
	default:
		return nil
	}
	r := d.rule(a)
	r.Alerts += n
	r.Matches += n * a.Count
	if h := d.host(a.Host); h != nil {
		h.Alerts += n
	}
	return nil
}
