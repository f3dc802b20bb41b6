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
	"github.com/picket-edr/picket/sigma"
)

// Bounds of a fold, so that a step is a document that MongoDB takes.
const (
	foldBatches = 256
	foldBytes   = 3 << 20 // as the batches keep them
	foldHosts   = 20_000
)

// settle folds what batches brought until nothing is pending.
func (s *Store) settle(ctx context.Context) error {
	for {
		more := false
		err := s.change(ctx, func(ctx context.Context, d *draft) (ok bool, err error) {
			more, err = d.fold(ctx)
			return len(d.batches) > 0, err
		})
		if err != nil {
			return fmt.Errorf("fold batches: %w", err)
		}
		if !more {
			return nil
		}
	}
}

// settled is settle for one who reads: where nothing is pending it costs one
// look.
func (s *Store) settled(ctx context.Context) error {
	n, err := find[bson.Raw](ctx, s.pending, bson.D{}, options.Find().SetLimit(1))
	if err != nil {
		return fmt.Errorf("look for pending batches: %w", err)
	}
	if len(n) == 0 {
		return nil
	}
	return s.settle(ctx)
}

// markMemory is after how long the mark of a batch that was never saved goes.
const markMemory = time.Hour

// pendingBatches returns batches that are to be folded, the oldest first, and
// whether there may be more. On the way it takes away marks that mean nothing.
func (s *Store) pendingBatches(ctx context.Context) (pending []batchDoc, more bool, err error) {
	marks, err := find[pendingDoc](ctx, s.pending, bson.D{}, options.Find().SetSort(bson.D{where("seq", 1)}).SetLimit(foldBatches))
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
	of := make(map[string]batchDoc)
	for _, d := range docs {
		of[d.ID] = d
	}
	var stale []string
	for _, m := range marks {
		switch d, saved := of[m.ID]; {
		case d.Pending:
			pending = append(pending, d)
		case saved, m.Seq < time.Now().Add(-markMemory).UnixMicro():
			stale = append(stale, m.ID)
		}
	}
	return pending, len(marks) == foldBatches && len(pending)+len(stale) > 0, s.unmark(ctx, stale)
}

// unmark takes the marks of batches away.
func (s *Store) unmark(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return remove(ctx, s.pending, bson.D{where("_id", bson.D{where("$in", ids)})})
}

// fold drafts what pending batches brought, the oldest first, and reports
// whether there may be more.
func (d *draft) fold(ctx context.Context) (more bool, err error) {
	pending, more, err := d.s.pendingBatches(ctx)
	if err != nil || len(pending) == 0 {
		return more, err
	}
	need := newNeeds()
	var all []*brought
	bytes := 0
	for i := range pending {
		if bytes += len(pending[i].Data); i > 0 && (bytes > foldBytes || len(need.hosts) > foldHosts) {
			break
		}
		b, err := decodeBrought(pending[i].Data)
		if err != nil {
			return false, fmt.Errorf("read batch %s: %w", pending[i].ID, err)
		}
		all = append(all, b)
		for _, h := range b.Hosts {
			need.hosts[h.Name] = true
		}
		for _, m := range b.Minutes {
			need.minutes[minuteID(m.Minute)] = true
		}
		if len(b.Matches) > 0 {
			need.minutes[minuteID(minuteOf(d.now))] = true
		}
		for k := range b.Matches {
			need.match(&b.Matches[k])
		}
	}
	if err := d.read(ctx, need); err != nil {
		return false, err
	}
	for i, b := range all {
		d.count(b)
		p := &pending[i]
		done := batchDoc{ID: p.ID, At: p.At}
		done.Matches, done.Opened = d.join(b.Matches, false)
		d.batches = append(d.batches, done)
		d.marks = append(d.marks, p.ID)
		if len(b.Observed) > 0 {
			d.observed = append(d.observed, observedBatch{p.At, b.Observed})
		}
	}
	return more || len(all) < len(pending), nil
}

// count adds up the events of a batch.
func (d *draft) count(b *brought) {
	d.totals.Stored += b.Stored
	d.totals.Duplicate += b.Duplicate
	d.totals.Raw += b.Raw
	for _, m := range b.Minutes {
		doc := d.minute(m.Minute)
		doc.Events = addTally(doc.Events, m.Type, m.N)
	}
	for i := range b.Hosts {
		seen := &b.Hosts[i]
		h := d.hosts[seen.Name]
		if h == nil {
			h = &hostDoc{Name: seen.Name, First: seen.First, Last: seen.Last, Fold: store.Fold(seen.Name)}
			d.hosts[seen.Name] = h
		}
		h.Step = d.step
		if seen.Last >= h.Last {
			h.AgentID = seen.Agent
		}
		if seen.OS != "" && (seen.Last >= h.Last || h.OS == "") {
			h.OS = seen.OS
		}
		h.First, h.Last = min(h.First, seen.First), max(h.Last, seen.Last)
		h.At = fromMicros(h.Last)
		h.Events += seen.Events
	}
}

// join adds matches to the alerts that they join or open, and returns how many
// are new and which alerts they opened. Past the limit of an alert a match is
// only counted; again says that it may have been counted before.
func (d *draft) join(matches []matched, again bool) (fresh int, opened []string) {
	for i := range matches {
		m := &matches[i]
		if d.known[m.ID] {
			continue
		}
		agent := cmp.Or(m.AlertAgent, m.Agent)
		key := slot(m.Rule, agent, m.Host)
		doc := d.alerts[key]
		if doc != nil && again && doc.Kept >= picket.AlertMatchLimit {
			continue
		}
		if doc == nil {
			doc = d.open(m, agent)
			d.alerts[key] = doc
			opened = append(opened, doc.ID)
		}
		fresh++
		d.add(doc, m)
	}
	d.totals.Matches += int64(fresh)
	return fresh, opened
}

// open drafts the alert that a match opens.
func (d *draft) open(m *matched, agent string) *alertDoc {
	at := fromMicros(m.Time)
	a := picket.Alert{ID: picket.AlertID(m.ID), RuleID: m.Rule, Title: m.Title, Level: m.Level, Tags: m.Tags, AgentID: agent, Host: m.Host,
		Status: picket.StatusOpen, FirstSeen: at, LastSeen: at, Opened: fromMicros(d.now), Updated: fromMicros(d.now)}
	if a.Tags == nil {
		a.Tags = []string{}
	}
	doc := &alertDoc{Order: d.order(int(d.opened))}
	d.opened++
	doc.put(&a)
	d.totals.countAlert(&a, 1)
	d.rule(&a).Alerts++
	min := d.minute(minuteOf(d.now))
	min.Alerts = addTally(min.Alerts, a.Level.String(), 1)
	if h := d.host(a.Host); h != nil {
		h.Alerts++
	}
	return doc
}

// add counts a match on its alert, and keeps it while there is room.
func (d *draft) add(doc *alertDoc, m *matched) {
	doc.Step = d.step
	doc.Count++
	doc.US.First, doc.US.Last, doc.US.Updated = min(doc.US.First, m.Time), max(doc.US.Last, m.Time), d.now
	doc.First, doc.Last = fromMicros(doc.US.First), fromMicros(doc.US.Last)
	r := d.rules[doc.RuleID]
	if r == nil { // the rule's own document is gone
		r = d.rule(&picket.Alert{RuleID: doc.RuleID, Title: doc.Title, Level: level(doc.Level)})
	}
	r.Step = d.step
	r.Matches++
	d.known[m.ID] = true
	if doc.Kept >= picket.AlertMatchLimit {
		return
	}
	doc.Kept++
	at, _ := toDate(fromMicros(m.Time))
	d.matches = append(d.matches, matchDoc{ID: m.ID, Order: d.order(len(d.matches)), Alert: doc.ID, RuleID: m.Rule, EventID: m.Event,
		AgentID: m.Agent, Time: at, US: m.Time, Why: why(m.Why)})
}

func why(evidence []sigma.Evidence) []whyDoc {
	out := make([]whyDoc, len(evidence))
	for i, e := range evidence {
		out[i] = whyDoc{strings.ToValidUTF8(e.Field, "\uFFFD"), strings.ToValidUTF8(e.Value, "\uFFFD")}
	}
	return out
}
