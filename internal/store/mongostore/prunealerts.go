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

// maxAlertsPerStep is how many alerts one step deletes.
const maxAlertsPerStep = 100

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

// pruneAlerts deletes the oldest of the closed alerts, up to maxAlertsPerStep. Their
// matches go first, because a step has no room for them.
func (s *Store) pruneAlerts(ctx context.Context, before int64) (n int, err error) {
	docs, err := s.findClosedAlerts(ctx, before)
	if err != nil {
		return 0, err
	}
	withoutMatches := make(map[string]bool)
	for _, d := range docs {
		if err := deleteMany(ctx, s.matches, bson.D{bsonElem("alert", d.ID)}); err != nil {
			return 0, fmt.Errorf("delete matches of alert %s: %w", d.ID, err)
		}
		withoutMatches[d.ID] = true
	}
	if len(docs) == 0 {
		return 0, nil
	}
	err = s.runStep(ctx, func(ctx context.Context, t *txn) (bool, error) {
		docs, err := s.findClosedAlerts(ctx, before) // again, because one may have been reopened
		if err != nil {
			return false, err
		}
		if t.totals, err = s.readTotals(ctx); err != nil {
			return false, err
		}
		rules := make(map[string]bool)
		for i := range docs {
			if !withoutMatches[docs[i].ID] {
				continue
			}
			a := docs[i].alert()
			t.totals.countAlert(&a, -1)
			t.deletedAlerts = append(t.deletedAlerts, a.ID)
			rules[a.RuleID] = true
		}
		n = len(t.deletedAlerts)
		return n > 0, t.deleteUnusedRules(ctx, rules)
	})
	return n, err
}

// findClosedAlerts returns the closed alerts that were last changed before a time, the oldest
// first, up to maxAlertsPerStep.
func (s *Store) findClosedAlerts(ctx context.Context, before int64) ([]alertDoc, error) {
	return find[alertDoc](ctx, s.alerts, closedAndUnchangedSince(before), options.Find().SetSort(bson.D{bsonElem("us.updated", 1)}).SetLimit(maxAlertsPerStep))
}

// deleteUnusedRules adds the deletion of the counters of rules that have no alerts besides
// those that the step deletes.
func (t *txn) deleteUnusedRules(ctx context.Context, rules map[string]bool) error {
	s := t.store
	counters := make(map[string]*ruleDoc)
	if err := readInto(ctx, s, s.ruleStats, "_id", rules, counters, func(d *ruleDoc) string { return d.ID }); err != nil {
		return err
	}
	for rule, d := range counters {
		if d.Alerts > 0 {
			continue
		}
		_, err := findOne[alertDoc](ctx, s.alerts, bson.D{bsonElem("rule_id", rule), bsonElem("_id", bson.D{bsonElem("$nin", t.deletedAlerts)})})
		if errors.Is(err, picket.ErrNotFound) {
			t.deletedRules = append(t.deletedRules, rule)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// deleteOlder deletes the documents of ids that no later step has written.
func (s *Store) deleteOlder(ctx context.Context, r *redoRecord, ids []string, from string) error {
	if len(ids) == 0 {
		return nil
	}
	err := deleteMany(ctx, s.db.Collection(from), bson.D{bsonElem("_id", bson.D{bsonElem("$in", ids)}), bsonElem("step", bson.D{bsonElem("$lt", r.Step)})})
	if err != nil {
		return fmt.Errorf("delete from %s: %w", from, err)
	}
	return nil
}
