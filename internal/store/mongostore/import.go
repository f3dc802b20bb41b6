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
)

// MigrationProgress is how far a copy of another store into this one has come. It is
// kept in the database, so that the copy can go on after it was cut off. What
// is copied comes newest first, so orders are given out downwards.
type MigrationProgress struct {
	Source     string `bson:"from"`  // what is copied
	BaseOrder  int64  `bson:"base"`  // the order of the newest event
	Stage      string `bson:"stage"` // what is being copied
	Cursor     string `bson:"cursor"`
	StageCount int64  `bson:"n"`      // copied in the stage
	EventCount int64  `bson:"events"` // copied in all
}

const progressID = "progress"

// MigrationProgress returns how far the copy has come; that of a new one is new.
func (s *Store) MigrationProgress(ctx context.Context) (MigrationProgress, error) {
	p, err := one[MigrationProgress](ctx, s.db.Collection("migration"), byID(progressID))
	if errors.Is(err, picket.ErrNotFound) {
		return MigrationProgress{BaseOrder: time.Now().UnixMicro()}, nil
	}
	if err != nil {
		return p, fmt.Errorf("read how far the copy is: %w", err)
	}
	return p, nil
}

// SaveMigrationProgress keeps how far the copy has come.
func (s *Store) SaveMigrationProgress(ctx context.Context, p MigrationProgress) error {
	doc := struct {
		ID                string `bson:"_id"`
		MigrationProgress `bson:"inline"`
	}{progressID, p}
	err := op(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.db.Collection("migration").ReplaceOne(ctx, byID(progressID), doc, options.Replace().SetUpsert(true))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep how far the copy is: %w", err)
	}
	return nil
}

// ImportEvents stores events, newest first, the first of them at seq. Those
// that are there stay. It returns how many are of this copy.
func (s *Store) ImportEvents(ctx context.Context, evs []picket.Event, seq int64) (int64, error) {
	var c coder
	docs := make([]any, len(evs))
	for i := range evs {
		docs[i] = c.encode(&evs[i], "migration", seq-int64(i))
	}
	there, err := insertNew(ctx, s.events, docs)
	if err != nil {
		return 0, fmt.Errorf("import events: %w", err)
	}
	n := int64(len(docs) - len(there))
	for _, at := range there { // from before the copy was cut off, or a second copy of the event
		d := docs[at].(*eventDoc)
		old, err := one[eventDoc](ctx, s.events, byID(d.ID))
		if err != nil {
			return 0, fmt.Errorf("import events: %w", err)
		}
		if old.Seq == d.Seq {
			n++
		}
	}
	return n, nil
}

// ImportMatches stores matches, newest first, the first of them at order, which
// is below zero. Those that are there stay.
func (s *Store) ImportMatches(ctx context.Context, ms []picket.Match, order int64) error {
	docs := make([]any, len(ms))
	for i := range ms {
		m := &ms[i]
		at, _ := toDate(m.Time)
		docs[i] = matchDoc{ID: m.ID, Order: order - int64(i), Alert: m.AlertID, RuleID: m.RuleID, EventID: m.EventID, AgentID: m.AgentID,
			Time: at, US: m.Time.UnixMicro(), Why: why(m.Why)}
	}
	if _, err := insertNew(ctx, s.matches, docs); err != nil {
		return fmt.Errorf("import matches: %w", err)
	}
	return nil
}

// ImportAlerts stores alerts as they are, newest first, the first of them at
// order, which is below zero, with how many matches each keeps. Those that are
// there stay. It is picket.ErrConflict where another is open in the place of one.
func (s *Store) ImportAlerts(ctx context.Context, as []picket.Alert, kept map[string]int64, order int64) error {
	err := s.change(ctx, func(ctx context.Context, d *draft) (bool, error) {
		ids := make([]string, len(as))
		need := newNeeds()
		for i := range as {
			ids[i] = as[i].ID
			need.alert(as[i].RuleID, as[i].AgentID, as[i].Host)
		}
		there, err := s.alertsOf(ctx, ids)
		if err != nil {
			return false, err
		}
		if err := d.read(ctx, need); err != nil {
			return false, err
		}
		known := make(map[string]bool)
		for _, a := range there {
			known[a.ID] = true
		}
		for i := range as {
			if known[as[i].ID] {
				continue
			}
			if err := d.importAlert(&as[i], kept[as[i].ID], order-int64(i)); err != nil {
				return false, err
			}
		}
		return len(known) < len(as), nil
	})
	if err != nil {
		return fmt.Errorf("import alerts: %w", err)
	}
	return nil
}

func (d *draft) importAlert(a *picket.Alert, kept, order int64) error {
	doc := &alertDoc{Order: order, Step: d.step, Kept: kept}
	doc.put(a)
	if d.alerts[doc.Slot] != nil {
		return fmt.Errorf("alert %s: another of its rule, agent and host is open: %w", a.ID, picket.ErrConflict)
	}
	d.alerts[doc.Slot] = doc
	d.totals.countAlert(a, 1)
	if a.Status.Closed() {
		return nil
	}
	r := d.rule(a)
	r.Alerts++
	r.Matches += a.Count
	if h := d.host(a.Host); h != nil {
		h.Alerts++
	}
	return nil
}

// ImportHosts stores hosts as they are but for their alerts, which are counted
// when these are imported. Those that are there stay.
func (s *Store) ImportHosts(ctx context.Context, hosts []store.Host) error {
	docs := make([]any, len(hosts))
	for i, h := range hosts {
		docs[i] = hostDoc{Name: h.Name, AgentID: h.AgentID, OS: h.OS, First: h.FirstSeen.UnixMicro(), Last: h.LastSeen.UnixMicro(), At: h.LastSeen,
			Events: h.Events, Fold: store.Fold(h.Name)}
	}
	if _, err := insertNew(ctx, s.hosts, docs); err != nil {
		return fmt.Errorf("import hosts: %w", err)
	}
	return nil
}

// ImportActivity stores rollups. Those that are there stay.
func (s *Store) ImportActivity(ctx context.Context, minutes []store.MinuteCounts) error {
	var docs []any
	for _, m := range minutes {
		d := minuteDoc{ID: minuteID(m.Start.UnixMicro()), Start: m.Start.UnixMicro(), At: m.Start}
		for name, n := range m.Events {
			d.Events = addTally(d.Events, name, n)
		}
		for name, n := range m.Alerts {
			d.Alerts = addTally(d.Alerts, name, n)
		}
		docs = append(docs, d)
	}
	if _, err := insertNew(ctx, s.minutes, docs); err != nil {
		return fmt.Errorf("import activity: %w", err)
	}
	return nil
}

// ImportTotals sets the counters to another store's, of whose events so many
// were imported.
func (s *Store) ImportTotals(ctx context.Context, t store.Totals, events int64) error {
	err := s.change(ctx, func(ctx context.Context, d *draft) (bool, error) {
		var err error
		if d.totals, err = s.readTotals(ctx); err != nil {
			return false, err
		}
		d.totals.Stored, d.totals.Duplicate, d.totals.Matches = t.Stored, t.Duplicate, t.Matches
		d.totals.Gone = t.Stored - events
		d.totals.Raw, d.totals.GoneRaw = t.RawBytes, 0
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("import totals: %w", err)
	}
	return nil
}

// IsEmpty reports whether nothing has been stored yet.
func (s *Store) IsEmpty(ctx context.Context) (bool, error) {
	for _, c := range []string{"telemetry_events", "alerts", "batches"} {
		docs, err := find[bson.Raw](ctx, s.db.Collection(c), bson.D{}, options.Find().SetLimit(1).SetProjection(byID(1)))
		if err != nil {
			return false, fmt.Errorf("look into %s: %w", c, err)
		}
		if len(docs) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// ImportAudit stores entries of the audit log, oldest first. Entries that are
// there, at the same places, stay.
func (s *Store) ImportAudit(ctx context.Context, es []store.AuditEntry, base int64) error {
	docs := make([]any, len(es))
	for i, e := range es {
		docs[i] = auditDoc{base - int64(len(es)-i), e.Time.UnixMicro(), e.Actor, e.Action, e.Object, e.Detail}
	}
	if _, err := insertNew(ctx, s.audit, docs); err != nil {
		return fmt.Errorf("import audit log: %w", err)
	}
	return nil
}
