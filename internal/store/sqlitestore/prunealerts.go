package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// maxRowsPerPruneStep is how many alerts and matches are deleted in one transaction, so that
// saves are not held up.
const maxRowsPerPruneStep = 2000

// PruneAlerts implements store.Alerts. It returns the space to the file system.
func (s *Store) PruneAlerts(ctx context.Context, before time.Time) (int64, error) {
	deleted := int64(0)
	for more := true; more; {
		n := int64(0)
		err := s.writer.transact(ctx, func(t *tx) (err error) {
			n, more, err = t.pruneClosedAlerts(block.Micros(before))
			return err
		})
		if err != nil {
			return deleted, fmt.Errorf("prune alerts: %w", err)
		}
		deleted += n
	}
	if deleted == 0 {
		return 0, nil
	}
	if err := s.shrinkFile(ctx); err != nil {
		return deleted, fmt.Errorf("prune alerts: %w", err)
	}
	return deleted, nil
}

// pruneClosedAlerts deletes at most about maxRowsPerPruneStep rows of closed alerts, the oldest first.
// It returns how many alerts it has deleted and whether there may be more.
func (t *tx) pruneClosedAlerts(before int64) (deleted int64, more bool, err error) {
	for rows := int64(maxRowsPerPruneStep); rows > 0; rows-- {
		a, err := scanAlert(t.writer.queryRow("SELECT "+alertColumns+" FROM alerts WHERE closed = 1 AND updated < ? ORDER BY updated LIMIT 1", before))
		if errors.Is(err, sql.ErrNoRows) {
			return deleted, false, nil
		}
		if err != nil {
			return 0, false, err
		}
		n, err := t.exec("DELETE FROM matches WHERE n IN (SELECT n FROM matches WHERE alert = ? LIMIT ?)", a.n, rows)
		if err != nil {
			return 0, false, err
		}
		if rows -= n; rows <= 0 {
			break // the alert may have more
		}
		if err := t.deleteAlertRow(&a); err != nil {
			return 0, false, err
		}
		deleted++
	}
	return deleted, true, nil
}

// deleteAlertRow deletes an alert without matches, and takes it out of the counters.
func (t *tx) deleteAlertRow(a *alertRow) error {
	if _, err := t.exec("DELETE FROM alerts WHERE n = ?", a.n); err != nil {
		return err
	}
	if err := t.addAlertStats(&a.Alert, a.Status, -1, -a.Count); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM alert_stats WHERE rule_id = ? AND alerts <= 0", a.RuleID)
	return err
}
