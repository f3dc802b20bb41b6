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
	err := s.transact(ctx, func(ctx context.Context) error {
		doc, err := findOne[alertDoc](ctx, s.alerts, byID(id))
		if err != nil {
			return err
		}
		before := doc.alert()
		out = doc.alert()
		if err := u.Apply(&out); err != nil {
			return err
		}
		return s.replaceAlert(ctx, &doc, &before, &out)
	})
	if err != nil {
		return picket.Alert{}, fmt.Errorf("update alert %s: %w", id, err)
	}
	return out, nil
}

// replaceAlert changes the document of an alert to a, and the counters.
func (s *Store) replaceAlert(ctx context.Context, doc *alertDoc, before, a *picket.Alert) error {
	wasOpen, isOpen := !before.Status.Closed(), !a.Status.Closed()
	if isOpen && !wasOpen {
		if other, err := s.otherIsOpen(ctx, a); err != nil || other {
			return orConflict(err)
		}
	}
	doc.set(a)
	// Deleted and inserted: SecantusDB does not free a unique key that an update gives up.
	writes := []write{deletionOf(s.alerts, doc.ID), insertOf(s.alerts, doc)}
	if a.Status == before.Status {
		return s.writeAll(ctx, writes)
	}
	t := newTxn(s)
	t.counters.countAlert(before, -1)
	t.counters.countAlert(a, 1)
	switch {
	case isOpen && !wasOpen:
		t.countOpenAlerts(a, 1, a.Count)
	case wasOpen && !isOpen:
		t.countOpenAlerts(a, -1, -a.Count)
	}
	return s.writeAll(ctx, append(writes, t.writes()...))
}

// orConflict returns err, or that a newer alert is open.
func orConflict(err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("a newer alert of its rule and host is open: %w", picket.ErrConflict)
}
