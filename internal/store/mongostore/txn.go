package mongostore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
)

// A txn is a step under construction: the documents that it has read, with the
// changes made so far. A document that it has changed has its step number.
type txn struct {
	store *Store
	step  int64
	now   int64 // microseconds

	totals       *totalsDoc
	alerts       map[string]*alertDoc // by UniqueKey
	hosts        map[store.HostKey]*hostDoc
	unlisted     map[store.HostKey]int64 // alerts that are not closed, by host that is not in hosts
	minutes      map[string]*minuteDoc
	rules        map[string]*ruleDoc
	correlations *correlationsDoc // nil: unchanged

	knownMatches map[string]bool // ids of matches that are stored, or added in this step
	matches      []matchDoc
	observations []observationBatch
	batches      []batchDoc
	marks        []string // ids of batches whose pending marks are to be deleted
	deleted      []string // ids of events
	deletedUpTo  int64    // the greatest seq of them

	deletedAlerts, deletedRules []string // ids
	openedAlerts                int64
	quota                       *store.QuotaUse
}

func newTxn(s *Store, step int64) *txn {
	now := s.options.Now().UnixMicro()
	return &txn{store: s, step: step, now: now, quota: s.quota.BeginTransaction(now),
		alerts: make(map[string]*alertDoc), hosts: make(map[store.HostKey]*hostDoc), minutes: make(map[string]*minuteDoc),
		unlisted: make(map[store.HostKey]int64), rules: make(map[string]*ruleDoc), knownMatches: make(map[string]bool)}
}

// itemNumberBits is how many bits of an order are the number within the step.
const itemNumberBits = 22

// orderOfItem returns the order of item i of this step. Items of later steps are later.
func (t *txn) orderOfItem(i int) int64 { return t.step<<itemNumberBits | int64(i) }

// A txnReads names the documents that a txn reads before it changes any.
type txnReads struct {
	openAlerts, rules, minutes, matches map[string]bool
	hosts                               map[store.HostKey]bool
}

func newTxnReads() *txnReads {
	return &txnReads{make(map[string]bool), make(map[string]bool), make(map[string]bool), make(map[string]bool), make(map[store.HostKey]bool)}
}

// addAlert adds the documents that change with an open alert.
func (r *txnReads) addAlert(rule, agent, host string) {
	r.openAlerts[openAlertKey(rule, agent, host)] = true
	r.rules[rule] = true
	r.hosts[store.HostKey{AgentID: agent, Name: host}] = true
}

func (r *txnReads) addMatch(m *matchRecord) {
	r.addAlert(m.Rule, cmp.Or(m.AlertAgent, m.Agent), m.Host)
	r.matches[m.ID] = true
}

// readDocs reads the documents of a read set, concurrently.
func (t *txn) readDocs(ctx context.Context, r *txnReads) error {
	s := t.store
	var g errgroup.Group
	g.Go(func() (err error) { t.totals, err = s.readTotals(ctx); return err })
	g.Go(func() error {
		return readInto(ctx, s, s.alerts, "slot", r.openAlerts, t.alerts, func(a *alertDoc) string { return a.UniqueKey })
	})
	g.Go(func() error { return s.readHosts(ctx, r.hosts, t.hosts) })
	g.Go(func() error {
		return readInto(ctx, s, s.ruleStats, "_id", r.rules, t.rules, func(d *ruleDoc) string { return d.ID })
	})
	g.Go(func() error {
		return readInto(ctx, s, s.minutes, "_id", r.minutes, t.minutes, func(m *minuteDoc) string { return m.ID })
	})
	g.Go(func() error {
		stored := make(map[string]*matchDoc)
		err := readInto(ctx, s, s.matches, "_id", r.matches, stored, func(m *matchDoc) string { return m.ID })
		for id := range stored {
			t.knownMatches[id] = true
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return t.countUnlisted(ctx, r)
}

// countUnlisted counts the open alerts of the hosts of a read set that are not listed,
// because they were past the quota of their sender.
func (t *txn) countUnlisted(ctx context.Context, r *txnReads) error {
	var names []string
	for key := range r.hosts {
		if t.hosts[key] == nil {
			names = append(names, key.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	docs, err := findIn[struct {
		Host   string `bson:"host"`
		Agent  string `bson:"agent_id"`
		Status string `bson:"status"`
	}](ctx, t.store, t.store.alerts, "host", names, options.Find().SetProjection(bson.D{bsonElem("host", 1), bsonElem("agent_id", 1), bsonElem("status", 1)}))
	if err != nil {
		return fmt.Errorf("read alerts of new hosts: %w", err)
	}
	for _, d := range docs {
		if !picket.AlertStatus(d.Status).Closed() {
			t.unlisted[store.HostKey{AgentID: d.Agent, Name: d.Host}]++
		}
	}
	return nil
}

// readInto reads the documents of some keys into a map.
func readInto[T any, K comparable](ctx context.Context, s *Store, c *mongo.Collection, field string, keys map[string]bool, out map[K]*T, key func(*T) K) error {
	docs, err := findIn[T](ctx, s, c, field, slices.Collect(maps.Keys(keys)))
	if err != nil {
		return fmt.Errorf("read %s: %w", c.Name(), err)
	}
	for i := range docs {
		out[key(&docs[i])] = &docs[i]
	}
	return nil
}

func (s *Store) readTotals(ctx context.Context) (*totalsDoc, error) {
	t, err := findOne[totalsDoc](ctx, s.totals, byID(totalsID))
	if errors.Is(err, picket.ErrNotFound) {
		return &totalsDoc{ID: totalsID}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	return &t, nil
}

// existingHostForUpdate returns the document of an alert's host, to be changed; nil if no event
// came from that host.
func (t *txn) existingHostForUpdate(a *picket.Alert) *hostDoc {
	h := t.hosts[alertHostKey(a)]
	if h != nil {
		h.Step = t.step
	}
	return h
}

func alertHostKey(a *picket.Alert) store.HostKey {
	return store.HostKey{AgentID: a.AgentID, Name: a.Host}
}

// ruleForUpdate returns the document of an alert's rule, to be changed.
func (t *txn) ruleForUpdate(a *picket.Alert) *ruleDoc {
	r := t.rules[a.RuleID]
	if r == nil {
		r = &ruleDoc{ID: a.RuleID}
		t.rules[a.RuleID] = r
	}
	r.Step, r.Title, r.Level = t.step, a.Title, a.Level.String()
	return r
}

// minuteForUpdate returns a minute's document, to be changed.
func (t *txn) minuteForUpdate(start int64) *minuteDoc {
	id := minuteID(start)
	m := t.minutes[id]
	if m == nil {
		m = &minuteDoc{ID: id, Start: start, At: fromMicros(start)}
		t.minutes[id] = m
	}
	m.Step = t.step
	return m
}

// redoRecord returns the record of everything that the txn has changed.
func (t *txn) redoRecord() (*redoRecord, error) {
	r := &redoRecord{Step: t.step, At: t.now, Matches: t.matches, Batches: t.batches, Marks: t.marks, Deleted: t.deleted, DeletedUpTo: t.deletedUpTo,
		DeletedAlerts: t.deletedAlerts, DeletedRules: t.deletedRules}
	var err error
	add := func(c *mongo.Collection, p *putDocs) {
		if p.Collection = c.Name(); len(p.Docs) > 0 {
			r.Put = append(r.Put, *p)
		}
	}
	if t.totals != nil {
		t.totals.Step = t.step
		add(t.store.totals, marshalPut(&err, t.totals))
	}
	add(t.store.alerts, marshalChanged(&err, t.alerts, func(a *alertDoc) bool { return a.Step == t.step }))
	add(t.store.hosts, marshalChanged(&err, t.hosts, func(h *hostDoc) bool { return h.Step == t.step }))
	add(t.store.ruleStats, marshalChanged(&err, t.rules, func(d *ruleDoc) bool { return d.Step == t.step }))
	add(t.store.minutes, marshalChanged(&err, t.minutes, func(m *minuteDoc) bool { return m.Step == t.step }))
	if t.correlations != nil {
		t.correlations.Step = t.step
		add(t.store.correlations, marshalPut(&err, t.correlations))
	}
	if len(t.observations) > 0 {
		text, jsonErr := json.Marshal(t.observations)
		err = errors.Join(err, jsonErr)
		r.Observations = zst.CompressForSpeed(nil, text)
	}
	return r, err
}

func marshalPut(failed *error, doc any) *putDocs {
	raw, err := bson.Marshal(doc)
	*failed = errors.Join(*failed, err)
	return &putDocs{Docs: []bson.Raw{raw}}
}

// marshalChanged marshals the documents that the step has changed.
func marshalChanged[K comparable, T any](failed *error, docs map[K]*T, changed func(*T) bool) *putDocs {
	p := new(putDocs)
	for _, doc := range docs {
		if changed(doc) {
			p.Docs = append(p.Docs, marshalPut(failed, doc).Docs...)
		}
	}
	return p
}
