package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/casefold"
)

// What one step applies is bounded, so that its document is not too large for
// MongoDB.
const (
	maxBatchesPerStep           = 256
	maxBytesPerStep             = 3 << 20 // of effects, encoded
	maxDecodedBytesPerApplyStep = 2 * maxDecodedEffectsBytes
	maxHostsPerStep             = 20_000
)

// applyAllPending applies pending batches until none is left.
func (s *Store) applyAllPending(ctx context.Context) error {
	for {
		more := false
		err := s.runStep(ctx, func(ctx context.Context, t *txn) (ok bool, err error) {
			more, err = t.applyPendingBatches(ctx)
			return len(t.batches) > 0, err
		})
		if err != nil {
			return fmt.Errorf("apply batches: %w", err)
		}
		if !more {
			return nil
		}
	}
}

// ensureApplied is applyAllPending for readers: if nothing is pending, it costs
// one query.
func (s *Store) ensureApplied(ctx context.Context) error {
	marks, err := find[bson.Raw](ctx, s.pendingMarks, bson.D{}, options.Find().SetLimit(1))
	if err != nil {
		return fmt.Errorf("look for pending batches: %w", err)
	}
	if len(marks) == 0 {
		return nil
	}
	return s.applyAllPending(ctx)
}

// markRetention is how long the mark of a batch that was never saved is kept.
const markRetention = time.Hour

// readPending returns pending batches, the oldest first, and whether there may be
// more. It also deletes the marks of batches that are not pending.
func (s *Store) readPending(ctx context.Context) (pending []batchDoc, more bool, err error) {
	marks, err := find[pendingDoc](ctx, s.pendingMarks, bson.D{}, options.Find().SetSort(bson.D{bsonElem("seq", 1)}).SetLimit(maxBatchesPerStep))
	if err != nil || len(marks) == 0 {
		return nil, false, err
	}
	ids := make([]string, len(marks))
	for i, m := range marks {
		ids[i] = m.ID
	}
	docs, err := findIn[batchDoc](ctx, s, s.batches, "_id", ids)
	if err != nil {
		return nil, false, err
	}
	batches := make(map[string]batchDoc)
	for _, d := range docs {
		batches[d.ID] = d
	}
	var stale []string
	for _, m := range marks {
		switch d, saved := batches[m.ID]; {
		case d.Pending:
			pending = append(pending, d)
		case saved, m.Seq < time.Now().Add(-markRetention).UnixMicro():
			stale = append(stale, m.ID)
		}
	}
	return pending, len(marks) == maxBatchesPerStep && len(pending)+len(stale) > 0, s.deletePendingBatches(ctx, stale)
}

func (s *Store) deletePendingBatches(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return deleteMany(ctx, s.pendingMarks, bson.D{bsonElem("_id", bson.D{bsonElem("$in", ids)})})
}

// applyPendingBatches adds the effects of pending batches to the step, the oldest first,
// and reports whether there may be more.
func (t *txn) applyPendingBatches(ctx context.Context) (more bool, err error) {
	pending, more, err := t.store.readPending(ctx)
	if err != nil || len(pending) == 0 {
		return more, err
	}
	set := newTxnReads()
	var all []*batchEffects
	bytes, decoded := 0, 0
	for i := range pending {
		bytes += len(pending[i].Data)
		decoded += zst.DecompressedSize(pending[i].Data)
		if i > 0 && (bytes > maxBytesPerStep || decoded > maxDecodedBytesPerApplyStep || len(set.hosts) > maxHostsPerStep) {
			break
		}
		effects, err := decodeBatchEffects(pending[i].Data)
		if err != nil {
			return false, fmt.Errorf("read batch %s: %w", pending[i].ID, err)
		}
		all = append(all, effects)
		set.addEffects(effects, t.now)
	}
	if err := t.readDocs(ctx, set); err != nil {
		return false, err
	}
	for i, effects := range all {
		t.countEvents(effects)
		p := &pending[i]
		applied := batchDoc{ID: p.ID, At: p.At}
		applied.Matches, applied.Opened, err = t.addMatches(ctx, effects.Sender, effects.Matches, false)
		if err != nil {
			return false, err
		}
		t.batches = append(t.batches, applied)
		t.marks = append(t.marks, p.ID)
		if len(effects.Observations) > 0 {
			t.observations = append(t.observations, observationBatch{p.At, effects.Observations})
		}
	}
	return more || len(all) < len(pending), nil
}

// addEffects adds the documents that change when effects are applied.
func (r *txnReads) addEffects(effects *batchEffects, now int64) {
	for _, h := range effects.Hosts {
		r.hosts[h.key()] = true
	}
	for _, m := range effects.Minutes {
		r.minutes[minuteID(m.Minute)] = true
	}
	if len(effects.Matches) > 0 {
		r.minutes[minuteID(store.StartOfMinuteMicros(now))] = true
	}
	for i := range effects.Matches {
		r.addMatch(&effects.Matches[i])
	}
}

// countEvents adds the events of a batch to the totals, minutes and hosts.
func (t *txn) countEvents(effects *batchEffects) {
	t.totals.Stored += effects.Stored
	t.totals.Duplicate += effects.Duplicate
	t.totals.Conflicting += effects.Conflicting
	t.totals.Raw += effects.Raw
	t.quota.AddEventBytes(effects.Sender, int(effects.Raw))
	for _, m := range effects.Minutes {
		doc := t.minuteForUpdate(m.Minute)
		doc.Events = addTypeCount(doc.Events, m.Type, m.N)
	}
	for i := range effects.Hosts {
		seen := &effects.Hosts[i]
		key := seen.key()
		h := t.hosts[key]
		if h == nil {
			if !t.quota.AddHost(effects.Sender) {
				continue
			}
			h = &hostDoc{ID: hostID(key), AgentID: seen.Agent, First: seen.First, Last: seen.Last, Alerts: t.unlisted[key], Folded: casefold.String(seen.Name)}
			t.hosts[key] = h
		}
		h.Step = t.step
		if seen.OS != "" && (seen.Last >= h.Last || h.OS == "") {
			h.OS = seen.OS
		}
		h.First, h.Last = min(h.First, seen.First), max(h.Last, seen.Last)
		h.At = fromMicros(h.Last)
		h.Events += seen.Events
	}
}

// addMatches adds matches of a sender's events to the alerts that they join or open,
// and returns how many are new and which alerts they have opened. A match past the
// limit of an alert is only counted; with replay it is not, because it may have been
// counted before.
func (t *txn) addMatches(ctx context.Context, sender string, matches []matchRecord, replay bool) (newMatches int, opened []string, err error) {
	for i := range matches {
		m := &matches[i]
		if t.knownMatches[m.ID] {
			continue
		}
		a := picket.Alert{RuleID: m.Rule, Title: m.Title, Level: m.Level, Tags: m.Tags, AgentID: cmp.Or(m.AlertAgent, m.Agent), Host: m.Host}
		doc := t.alerts[openAlertKey(a.RuleID, a.AgentID, a.Host)]
		if doc == nil {
			if opens := t.quota.AlertOrGathering(sender, a); opens.RuleID != a.RuleID {
				a = opens
				if doc, err = t.readOpenAlert(ctx, &a); err != nil {
					return 0, nil, err
				}
			}
		}
		if doc != nil && replay && doc.Kept >= picket.MaxStoredMatchesPerAlert {
			continue
		}
		if doc == nil {
			a.ID = picket.AlertID(m.ID)
			doc = t.newAlert(a, m.Time)
			t.quota.AddAlert(sender, &a)
			opened = append(opened, doc.ID)
		}
		newMatches++
		t.addMatch(doc, sender, m)
	}
	t.totals.Matches += int64(newMatches)
	return newMatches, opened, nil
}

// readOpenAlert returns the alert of a's rule, agent and host that is not closed, nil if
// there is none. It also reads the counters of the rule.
func (t *txn) readOpenAlert(ctx context.Context, a *picket.Alert) (*alertDoc, error) {
	key := openAlertKey(a.RuleID, a.AgentID, a.Host)
	if t.alerts[key] != nil {
		return t.alerts[key], nil
	}
	if t.rules[a.RuleID] == nil {
		err := readInto(ctx, t.store, t.store.ruleStats, "_id", map[string]bool{a.RuleID: true}, t.rules, func(d *ruleDoc) string { return d.ID })
		if err != nil {
			return nil, err
		}
	}
	err := readInto(ctx, t.store, t.store.alerts, "slot", map[string]bool{key: true}, t.alerts, func(a *alertDoc) string { return a.UniqueKey })
	return t.alerts[key], err
}

// newAlert returns the new alert a, which a match opens, and counts it.
func (t *txn) newAlert(a picket.Alert, matched int64) *alertDoc {
	at := fromMicros(matched)
	a.Status, a.FirstSeen, a.LastSeen, a.Opened, a.Updated = picket.StatusOpen, at, at, fromMicros(t.now), fromMicros(t.now)
	if a.Tags == nil {
		a.Tags = []string{}
	}
	doc := &alertDoc{Order: t.orderOfItem(int(t.openedAlerts))}
	t.openedAlerts++
	doc.set(&a)
	t.alerts[doc.UniqueKey] = doc
	t.totals.countAlert(&a, 1)
	t.ruleForUpdate(&a).Alerts++
	minute := t.minuteForUpdate(store.StartOfMinuteMicros(t.now))
	minute.Alerts = addCount(minute.Alerts, a.Level.String(), 1)
	if h := t.existingHostForUpdate(&a); h != nil {
		h.Alerts++
	} else {
		t.unlisted[alertHostKey(&a)]++
	}
	return doc
}

// addMatch counts a match in its alert, and stores it unless the alert has enough
// of them.
func (t *txn) addMatch(doc *alertDoc, sender string, m *matchRecord) {
	doc.Step = t.step
	doc.Count++
	doc.US.First, doc.US.Last, doc.US.Updated = min(doc.US.First, m.Time), max(doc.US.Last, m.Time), t.now
	doc.First, doc.Last = fromMicros(doc.US.First), fromMicros(doc.US.Last)
	r := t.rules[doc.RuleID]
	if r == nil { // the document is missing
		r = t.ruleForUpdate(&picket.Alert{RuleID: doc.RuleID, Title: doc.Title, Level: parseLevel(doc.Level)})
	}
	r.Step = t.step
	r.Matches++
	t.knownMatches[m.ID] = true
	if doc.Kept >= picket.MaxStoredMatchesPerAlert || !t.quota.AddMatch(sender, m.match()) && doc.Count > 1 {
		return
	}
	doc.Kept++
	at, _ := toDate(fromMicros(m.Time))
	t.matches = append(t.matches, matchDoc{ID: m.ID, Order: t.orderOfItem(len(t.matches)), Alert: doc.ID, RuleID: m.Rule, EventID: m.Event, Namespace: m.Namespace,
		AgentID: m.Agent, Time: at, US: m.Time, Why: evidenceDocs(m.Why)})
}

func evidenceDocs(evidence []sigma.Evidence) []evidenceDoc {
	out := make([]evidenceDoc, len(evidence))
	for i, e := range evidence {
		out[i] = evidenceDoc{strings.ToValidUTF8(e.Field, "\uFFFD"), strings.ToValidUTF8(e.Value, "\uFFFD")}
	}
	return out
}
