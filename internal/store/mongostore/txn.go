package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// transact runs f in a transaction, again if it conflicts with another one. What f does
// with its context is part of the transaction, and only one call at a time.
func (s *Store) transact(ctx context.Context, f func(ctx context.Context) error) error {
	if s.quit.Err() != nil {
		return errClosed
	}
	return withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		session, err := s.client.StartSession()
		if err != nil {
			return err
		}
		defer session.EndSession(context.WithoutCancel(ctx))
		_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			err := f(ctx)
			if err == nil {
				err = s.options.fault("commit")
			}
			_, noServer := errors.AsType[topology.ServerSelectionError](err)
			switch {
			case noServer:
				err = transactionError{err, false}
			case hasCode(err, codeDuplicateKey), hasCode(err, codeWriteConflict): // another transaction changes the same document
				err = transactionError{err, true}
			}
			return nil, err
		}, options.Transaction().SetReadConcern(readconcern.Snapshot()))
		return err
	})
}

// A transactionError says whether the driver tries a transaction again that has failed,
// where it would decide otherwise.
type transactionError struct {
	error
	retry bool
}

// HasErrorLabel implements mongo.LabeledError.
func (e transactionError) HasErrorLabel(label string) bool {
	return e.retry && label == driver.TransientTransactionError
}

func (e transactionError) Unwrap() error { return e.error }

// A txn is what one transaction changes in alerts, matches, hosts and counters. It is
// planned in memory, from what was read, and then written.
type txn struct {
	store    *Store
	now      int64 // microseconds
	quota    *store.QuotaUse
	counters *counterChanges

	openAlerts map[string]*openAlert // by slot
	changed    []*openAlert
	hostAlerts map[store.HostKey]int64 // what is added to the alerts of hosts that are not closed
	activity   hostActivities
	matches    []matchDoc
	known      map[string]bool // ids of matches that are stored, or added here
}

// An openAlert is an alert that is not closed, as it will be.
type openAlert struct {
	doc       alertDoc
	isNew     bool
	isChanged bool
}

func newTxn(s *Store) *txn {
	now := s.options.Now().UnixMicro()
	return &txn{store: s, now: now, quota: s.quota.BeginTransaction(now), counters: newCounterChanges(),
		openAlerts: make(map[string]*openAlert), hostAlerts: make(map[store.HostKey]int64), activity: make(hostActivities), known: make(map[string]bool)}
}

// readOpenAlerts reads the alerts that matches of a sender's events may join.
func (t *txn) readOpenAlerts(ctx context.Context, matches map[string][]picket.Match) error {
	slots := make(map[string]bool)
	for sender, ms := range matches {
		for i := range ms {
			a := alertOf(&ms[i])
			slots[openAlertKey(a.RuleID, a.AgentID, a.Host)] = true
			for _, agent := range []string{a.AgentID, store.GatheringAgent(sender)} { // past a quota
				slots[openAlertKey(store.AlertQuotaRule, agent, store.SeveralHosts)] = true
			}
		}
	}
	docs, err := findIn[alertDoc](ctx, t.store.alerts, "slot", keysOf(slots))
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	for i := range docs {
		t.openAlerts[docs[i].UniqueKey] = &openAlert{doc: docs[i]}
	}
	return nil
}

// readKnownMatches reads which of the matches are stored.
func (t *txn) readKnownMatches(ctx context.Context, matches map[string][]picket.Match) error {
	var ids []string
	for _, ms := range matches {
		for i := range ms {
			ids = append(ids, ms[i].ID)
		}
	}
	docs, err := findIn[matchDoc](ctx, t.store.matches, "_id", ids, options.Find().SetProjection(byID(1)))
	if err != nil {
		return fmt.Errorf("read matches: %w", err)
	}
	for _, d := range docs {
		t.known[d.ID] = true
	}
	return nil
}

// alertOf returns the alert that a match opens.
func alertOf(m *picket.Match) picket.Alert {
	return picket.Alert{RuleID: m.RuleID, Title: m.Title, Level: m.Level, Tags: m.Tags, AgentID: cmp.Or(m.AlertAgent, m.AgentID), Host: m.Host}
}

// addMatches adds matches of a sender's events to the alerts that they join or open,
// and returns how many are new and which alerts they have opened. A match past the
// limit of an alert is only counted; with replay it is not, because it may have been
// counted before.
func (t *txn) addMatches(sender string, matches []picket.Match, replay bool) (newMatches int, opened []*openAlert) {
	for i := range matches {
		m := &matches[i]
		if t.known[m.ID] {
			continue
		}
		a := alertOf(m)
		alert := t.openAlerts[openAlertKey(a.RuleID, a.AgentID, a.Host)]
		if alert == nil {
			a = t.quota.AlertOrGathering(sender, a)
			alert = t.openAlerts[openAlertKey(a.RuleID, a.AgentID, a.Host)]
		}
		if alert != nil && replay && alert.doc.Kept >= picket.MaxStoredMatchesPerAlert {
			continue
		}
		if alert == nil {
			a.ID = picket.AlertID(m.ID)
			alert = t.openAlert(a, m.Time.UnixMicro())
			t.quota.AddAlert(sender, &a)
			opened = append(opened, alert)
		}
		newMatches++
		t.addMatch(alert, sender, m)
	}
	t.counters.addToTotals("matches", int64(newMatches))
	return newMatches, opened
}

// alertsOf returns alerts as they will be.
func alertsOf(opened []*openAlert) (out []picket.Alert) {
	for _, a := range opened {
		out = append(out, a.doc.alert())
	}
	return out
}

// openAlert opens the alert a for a match at a time.
func (t *txn) openAlert(a picket.Alert, matched int64) *openAlert {
	at := fromMicros(matched)
	a.Status, a.FirstSeen, a.LastSeen, a.Opened, a.Updated = picket.StatusOpen, at, at, fromMicros(t.now), fromMicros(t.now)
	if a.Tags == nil {
		a.Tags = []string{}
	}
	alert := &openAlert{isNew: true}
	alert.doc.Order = t.store.seq.next(1)
	alert.doc.set(&a)
	t.openAlerts[alert.doc.UniqueKey] = alert
	t.counters.countAlert(&a, 1)
	t.counters.addToMinute(store.StartOfMinuteMicros(t.now), "opened", a.Level.String(), 1)
	t.countOpenAlerts(&a, 1, 0)
	return alert
}

// countOpenAlerts counts n alerts of the rule and host of a that are not closed, with
// their matches.
func (t *txn) countOpenAlerts(a *picket.Alert, n, matches int64) {
	t.counters.countOpenAlerts(a.RuleID, n, matches)
	t.hostAlerts[store.HostKey{AgentID: a.AgentID, Name: a.Host}] += n
}

// addMatch counts a match in its alert, and stores it unless the alert has enough
// of them.
func (t *txn) addMatch(alert *openAlert, sender string, m *picket.Match) {
	doc, at := &alert.doc, m.Time.UnixMicro()
	if !alert.isChanged {
		alert.isChanged = true
		t.changed = append(t.changed, alert)
	}
	doc.Count++
	doc.US.First, doc.US.Last, doc.US.Updated = min(doc.US.First, at), max(doc.US.Last, at), t.now
	doc.First, doc.Last = fromMicros(doc.US.First), fromMicros(doc.US.Last)
	t.counters.countOpenAlerts(doc.RuleID, 0, 1)
	t.known[m.ID] = true
	if doc.Kept >= picket.MaxStoredMatchesPerAlert || !t.quota.AddMatch(sender, m) && doc.Count > 1 {
		return
	}
	doc.Kept++
	t.matches = append(t.matches, newMatchDoc(m, doc.ID, t.store.seq.next(1)))
}

// newMatchDoc returns the document of a match of an alert.
func newMatchDoc(m *picket.Match, alert string, order int64) matchDoc {
	at, _ := toDate(m.Time)
	return matchDoc{ID: m.ID, Order: order, Alert: alert, RuleID: m.RuleID, EventID: m.EventID, Namespace: m.EventNamespace,
		AgentID: m.AgentID, Time: at, US: m.Time.UnixMicro(), Why: evidenceDocs(m.Why)}
}

func evidenceDocs(evidence []sigma.Evidence) []evidenceDoc {
	out := make([]evidenceDoc, len(evidence))
	for i, e := range evidence {
		out[i] = evidenceDoc{strings.ToValidUTF8(e.Field, "\uFFFD"), strings.ToValidUTF8(e.Value, "\uFFFD")}
	}
	return out
}

// writes returns everything that was planned. What other transactions are likely to change
// as well comes last.
func (t *txn) writes() []write {
	s := t.store
	var out []write
	for _, a := range t.changed {
		d := &a.doc
		if a.isNew {
			out = append(out, insertOf(s.alerts, d))
			continue
		}
		out = append(out, updateOf(s.alerts, d.ID, bson.D{bsonElem("$set", bson.D{
			bsonElem("count", d.Count), bsonElem("kept", d.Kept), bsonElem("first_seen", d.First), bsonElem("last_seen", d.Last), bsonElem("us", d.US),
		})}))
	}
	for i := range t.matches {
		out = append(out, insertOf(s.matches, &t.matches[i]))
	}
	out = append(out, t.activity.insertions(s)...)
	for _, key := range sortedHosts(t.hostAlerts) {
		if n := t.hostAlerts[key]; n != 0 {
			out = append(out, updateOfHost(s, key, bson.D{bsonElem("$inc", bson.D{bsonElem("alerts", n)})}))
		}
	}
	return append(out, t.counters.writes(s)...)
}

// readOpenAlert returns the alert that is open for the rule, agent and host of a.
func (s *Store) readOpenAlert(ctx context.Context, a *picket.Alert) (alertDoc, error) {
	return findOne[alertDoc](ctx, s.alerts, bson.D{bsonElem("slot", openAlertKey(a.RuleID, a.AgentID, a.Host))})
}

// otherIsOpen reports whether another alert is open for the rule, agent and host of a.
func (s *Store) otherIsOpen(ctx context.Context, a *picket.Alert) (bool, error) {
	d, err := s.readOpenAlert(ctx, a)
	if errors.Is(err, picket.ErrNotFound) {
		return false, nil
	}
	return err == nil && d.ID != a.ID, err
}
