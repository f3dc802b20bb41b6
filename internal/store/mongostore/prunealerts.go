package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
)

// maxAlertDeletions is how many alerts one transaction deletes.
const maxAlertDeletions = 100

// closedAndUnchangedSince selects the closed alerts that were last changed before a time. The
// condition on their UniqueKey is that of the index.
func closedAndUnchangedSince(before int64) bson.D {
	return bson.D{bsonElem("slot", bson.D{bsonElem("$gte", "closed "), bsonElem("$lt", "closed!")}), bsonElem("us.updated", bson.D{bsonElem("$lt", before)})}
}

// PruneAlerts implements store.Alerts.
func (s *Store) PruneAlerts(ctx context.Context, before time.Time) (int64, error) {
	deleted := int64(0)
	for {
		n, err := s.pruneAlerts(ctx, before.UnixMicro())
		deleted += int64(n)
		if err != nil {
			return deleted, fmt.Errorf("prune alerts: %w", err)
		}
		if n == 0 {
			return deleted, nil
		}
	}
}

// pruneAlerts deletes the oldest of the closed alerts, up to maxAlertDeletions. Their
// matches go first, because there may be too many for a transaction.
func (s *Store) pruneAlerts(ctx context.Context, before int64) (n int, err error) {
	docs, err := s.findClosedAlerts(ctx, before)
	if err != nil || len(docs) == 0 {
		return 0, err
	}
	ids := make([]string, len(docs))
	for i, d := range docs {
		ids[i] = d.ID
		if err := deleteMany(ctx, s.matches, bson.D{bsonElem("alert", d.ID)}); err != nil {
			return 0, fmt.Errorf("delete matches of alert %s: %w", d.ID, err)
		}
	}
	err = s.transact(ctx, func(ctx context.Context) error {
		n, err = s.deleteAlerts(ctx, ids, before)
		return err
	})
	return n, err
}

// deleteAlerts deletes those of some alerts that are still closed, in a transaction, and
// returns their number.
func (s *Store) deleteAlerts(ctx context.Context, ids []string, before int64) (int, error) {
	docs, err := find[alertDoc](ctx, s.alerts, append(closedAndUnchangedSince(before), bsonElem("_id", bson.D{bsonElem("$in", ids)})))
	if err != nil {
		return 0, err
	}
	c := newCounterChanges()
	rules := make(map[string]bool)
	var deleted []string
	for i := range docs {
		a := docs[i].alert()
		c.countAlert(&a, -1)
		rules[a.RuleID] = true
		deleted = append(deleted, a.ID)
	}
	if len(deleted) == 0 {
		return 0, nil
	}
	if err := deleteMany(ctx, s.alerts, bson.D{bsonElem("_id", bson.D{bsonElem("$in", deleted)})}); err != nil {
		return 0, err
	}
	for rule := range rules {
		if err := s.deleteUnusedRule(ctx, rule); err != nil {
			return 0, err
		}
	}
	return len(deleted), s.writeAll(ctx, c.writes(s))
}

// deleteUnusedRule deletes the counters of a rule that has no alerts, in a transaction.
func (s *Store) deleteUnusedRule(ctx context.Context, rule string) error {
	_, err := findOne[alertDoc](ctx, s.alerts, bson.D{bsonElem("rule_id", rule)}, options.FindOne().SetProjection(byID(1)))
	if !errors.Is(err, picket.ErrNotFound) {
		return err
	}
	ids := make([]string, counterSlots)
	for slot := range ids {
		ids[slot] = fmt.Sprintf("%s%d/%s", rulePrefix, slot, rule)
	}
	return deleteMany(ctx, s.counters, bson.D{bsonElem("_id", bson.D{bsonElem("$in", ids)})})
}

// findClosedAlerts returns the closed alerts that were last changed before a time, the oldest
// first, up to maxAlertDeletions.
func (s *Store) findClosedAlerts(ctx context.Context, before int64) ([]alertDoc, error) {
	return find[alertDoc](ctx, s.alerts, closedAndUnchangedSince(before), options.Find().SetSort(bson.D{bsonElem("us.updated", 1)}).SetLimit(maxAlertDeletions))
}
