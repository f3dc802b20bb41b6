package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/casefold"
)

// MigrationProgress is the state of copying another store into this one. It is
// stored in the database, so that an interrupted copy can be resumed. Everything
// is copied newest first, so orders are assigned in descending order.
type MigrationProgress struct {
	Source     string `bson:"from"`  // the store that is copied
	BaseOrder  int64  `bson:"base"`  // seq of the newest event
	Stage      string `bson:"stage"` // which kind of item is being copied
	Cursor     string `bson:"cursor"`
	StageCount int64  `bson:"n"`      // items copied in this stage
	EventCount int64  `bson:"events"` // events copied in all
}

const progressID = "progress"

// MigrationProgress returns the stored progress, or that of a new copy.
func (s *Store) MigrationProgress(ctx context.Context) (MigrationProgress, error) {
	p, err := findOne[MigrationProgress](ctx, s.db.Collection("migration"), byID(progressID))
	if errors.Is(err, picket.ErrNotFound) {
		return MigrationProgress{BaseOrder: time.Now().UnixMicro()}, nil
	}
	if err != nil {
		return p, fmt.Errorf("read migration progress: %w", err)
	}
	return p, nil
}

// SaveMigrationProgress stores the progress.
func (s *Store) SaveMigrationProgress(ctx context.Context, p MigrationProgress) error {
	doc := struct {
		ID                string `bson:"_id"`
		MigrationProgress `bson:"inline"`
	}{progressID, p}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.db.Collection("migration").ReplaceOne(ctx, byID(progressID), doc, options.Replace().SetUpsert(true))
		return err
	})
	if err != nil {
		return fmt.Errorf("save migration progress: %w", err)
	}
	return nil
}

// ImportEvents inserts events, newest first, the first of them with seq. Events
// that exist are left alone. It returns how many of the events are from this copy.
func (s *Store) ImportEvents(ctx context.Context, evs []picket.Event, seq int64) (int64, error) {
	var c eventCoder
	docs := make([]any, len(evs))
	for i := range evs {
		docs[i] = c.encode(&evs[i], evs[i].Key(), "migration", seq-int64(i))
	}
	existing, err := insertNew(ctx, s.events, docs)
	if err != nil {
		return 0, fmt.Errorf("import events: %w", err)
	}
	n := int64(len(docs) - len(existing))
	for _, at := range existing { // inserted before the copy was interrupted, or a second copy of the event
		d := docs[at].(*eventDoc)
		old, err := findOne[eventDoc](ctx, s.events, byID(d.ID))
		if err != nil {
			return 0, fmt.Errorf("import events: %w", err)
		}
		if old.Seq == d.Seq {
			n++
		}
	}
	return n, nil
}

// ImportMatches inserts matches, newest first, the first of them with order, which
// is negative. Matches that exist are left alone.
func (s *Store) ImportMatches(ctx context.Context, ms []picket.Match, order int64) error {
	docs := make([]any, len(ms))
	for i := range ms {
		docs[i] = newMatchDoc(&ms[i], ms[i].AlertID, order-int64(i))
	}
	if _, err := insertNew(ctx, s.matches, docs); err != nil {
		return fmt.Errorf("import matches: %w", err)
	}
	return nil
}

// ImportAlerts inserts alerts as they are, newest first, the first of them with
// order, which is negative; kept says how many matches of each are stored. Alerts
// that exist are left alone. It is picket.ErrConflict if another alert of the same
// rule, agent and host is open.
func (s *Store) ImportAlerts(ctx context.Context, as []picket.Alert, kept map[string]int64, order int64) error {
	err := s.transact(ctx, func(ctx context.Context) error {
		ids := make([]string, len(as))
		for i := range as {
			ids[i] = as[i].ID
		}
		existing, err := findIn[alertDoc](ctx, s.alerts, "_id", ids, options.Find().SetProjection(byID(1)))
		if err != nil {
			return err
		}
		known := make(map[string]bool)
		for _, d := range existing {
			known[d.ID] = true
		}
		t := newTxn(s)
		for i := range as {
			if !known[as[i].ID] {
				if err := t.importAlert(ctx, &as[i], kept[as[i].ID], order-int64(i)); err != nil {
					return err
				}
			}
		}
		return s.writeAll(ctx, t.writes())
	})
	if err != nil {
		return fmt.Errorf("import alerts: %w", err)
	}
	return nil
}

func (t *txn) importAlert(ctx context.Context, a *picket.Alert, kept, order int64) error {
	alert := &openAlert{isNew: true, doc: alertDoc{Order: order, Kept: kept}}
	alert.doc.set(a)
	if !a.Status.Closed() {
		if other, err := t.store.otherIsOpen(ctx, a); err != nil {
			return err
		} else if other || t.openAlerts[alert.doc.UniqueKey] != nil {
			return fmt.Errorf("alert %s: another of its rule, agent and host is open: %w", a.ID, picket.ErrConflict)
		}
		t.openAlerts[alert.doc.UniqueKey] = alert
		t.countOpenAlerts(a, 1, a.Count)
	}
	t.changed = append(t.changed, alert)
	t.counters.countAlert(a, 1)
	return nil
}

// ImportHosts inserts hosts as they are, but without their alerts, which are
// counted when those are imported. Hosts that exist are left alone.
func (s *Store) ImportHosts(ctx context.Context, hosts []store.Host) error {
	docs := make([]any, len(hosts))
	for i, h := range hosts {
		seen := h.LastSeen.UnixMicro()
		docs[i] = hostDoc{ID: hostID(h.Key()), AgentID: h.AgentID, OS: h.OS, First: h.FirstSeen.UnixMicro(), Last: &seen,
			Events: h.Events, Folded: casefold.String(h.Name)}
	}
	if _, err := insertNew(ctx, s.hosts, docs); err != nil {
		return fmt.Errorf("import hosts: %w", err)
	}
	return nil
}

// ImportActivity inserts counts by minute. Minutes that exist are left alone.
func (s *Store) ImportActivity(ctx context.Context, minutes []store.MinuteCounts) error {
	var docs []any
	for _, m := range minutes {
		d := counterDoc{ID: minuteCounterPrefix(m.Start.UnixMicro()) + mergedSlot, Events: make(map[string]int64), Opened: make(map[string]int64)}
		for name, n := range m.Events {
			d.Events[nameToKey(name)] += n
		}
		for name, n := range m.Alerts {
			d.Opened[nameToKey(name)] += n
		}
		docs = append(docs, d)
	}
	if _, err := insertNew(ctx, s.counters, docs); err != nil {
		return fmt.Errorf("import activity: %w", err)
	}
	return nil
}

// ImportTotals sets the counters to those of another store, of which a number of
// events were imported.
func (s *Store) ImportTotals(ctx context.Context, totals store.Totals, events int64) error {
	d := counterDoc{ID: totalsPrefix + importedSlot, Stored: totals.Stored, Duplicate: totals.Duplicate, Conflicting: totals.Conflicting,
		Matches: totals.Matches, Deleted: totals.Stored - events, Raw: totals.RawBytes}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.counters.ReplaceOne(ctx, byID(d.ID), d, options.Replace().SetUpsert(true))
		return err
	})
	if err != nil {
		return fmt.Errorf("import totals: %w", err)
	}
	return nil
}

// IsEmpty reports whether nothing has been saved yet.
func (s *Store) IsEmpty(ctx context.Context) (bool, error) {
	for _, c := range []string{"telemetry_events", "alerts", "batches"} {
		docs, err := find[bson.Raw](ctx, s.db.Collection(c), bson.D{}, options.Find().SetLimit(1).SetProjection(byID(1)))
		if err != nil {
			return false, fmt.Errorf("read %s: %w", c, err)
		}
		if len(docs) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// ImportAudit inserts entries of the audit log, oldest first, numbered up to base.
// Entries whose numbers exist are left alone.
func (s *Store) ImportAudit(ctx context.Context, es []store.AuditEntry, base int64) error {
	docs := make([]any, len(es))
	for i, e := range es {
		e.N = base - int64(len(es)-i)
		docs[i] = auditDocOf(&e)
	}
	if _, err := insertNew(ctx, s.audit, docs); err != nil {
		return fmt.Errorf("import audit log: %w", err)
	}
	return nil
}

// ImportSecret sets a secret, unless there is one with the name.
func (s *Store) ImportSecret(ctx context.Context, name string, value []byte) error {
	if err := s.addSecret(ctx, name, value); err != nil {
		return fmt.Errorf("import secret %s: %w", name, err)
	}
	return nil
}
