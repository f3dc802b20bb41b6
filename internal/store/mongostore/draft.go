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

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/zst"
)

// A draft is a step while it is being made: documents as they were, and what
// has been changed of them.
type draft struct {
	s    *Store
	step int64
	now  int64 // microseconds

	totals   *totalsDoc
	alerts   map[string]*alertDoc // by slot
	hosts    map[string]*hostDoc
	minutes  map[string]*minuteDoc
	rules    map[string]*ruleDoc
	follower *followerDoc

	known    map[string]bool // matches that are stored, or in this step
	matches  []matchDoc
	observed []observedBatch
	batches  []batchDoc
	marks    []string // of pending batches
	gone     []string
	goneSeq  int64
	opened   int64 // alerts
	touched  map[string]bool
}

func newDraft(s *Store, step int64) *draft {
	return &draft{s: s, step: step, now: s.opt.Now().UnixMicro(),
		alerts: make(map[string]*alertDoc), hosts: make(map[string]*hostDoc), minutes: make(map[string]*minuteDoc),
		rules: make(map[string]*ruleDoc), known: make(map[string]bool), touched: make(map[string]bool)}
}

// stepBits are how many things of a kind a step may number.
const stepBits = 22

// order numbers a thing of this step, so that things of later steps are later.
func (d *draft) order(i int) int64 { return d.step<<stepBits | int64(i) }

// needs are the documents that a draft reads before it changes any.
type needs struct {
	slots, hosts, rules, minutes, matches map[string]bool
}

func newNeeds() *needs {
	return &needs{make(map[string]bool), make(map[string]bool), make(map[string]bool), make(map[string]bool), make(map[string]bool)}
}

// alert notes what an alert takes part in.
func (n *needs) alert(rule, agent, host string) {
	n.slots[slot(rule, agent, host)] = true
	n.rules[rule] = true
	n.hosts[host] = true
}

func (n *needs) match(m *matched) {
	n.alert(m.Rule, cmp.Or(m.AlertAgent, m.Agent), m.Host)
	n.matches[m.ID] = true
}

// read reads what is needed, all at once.
func (d *draft) read(ctx context.Context, n *needs) error {
	return together([]func() error{
		func() (err error) { d.totals, err = d.s.readTotals(ctx); return err },
		func() error {
			return into(ctx, d.s, d.s.alerts, "slot", n.slots, d.alerts, func(a *alertDoc) string { return a.Slot })
		},
		func() error {
			return into(ctx, d.s, d.s.hosts, "_id", n.hosts, d.hosts, func(h *hostDoc) string { return h.Name })
		},
		func() error {
			return into(ctx, d.s, d.s.rules, "_id", n.rules, d.rules, func(r *ruleDoc) string { return r.ID })
		},
		func() error {
			return into(ctx, d.s, d.s.minutes, "_id", n.minutes, d.minutes, func(m *minuteDoc) string { return m.ID })
		},
		func() error {
			there := make(map[string]*matchDoc)
			err := into(ctx, d.s, d.s.matches, "_id", n.matches, there, func(m *matchDoc) string { return m.ID })
			for id := range there {
				d.known[id] = true
			}
			return err
		},
	})
}

// into reads the documents of keys into a map.
func into[T any](ctx context.Context, s *Store, c *mongo.Collection, field string, keys map[string]bool, out map[string]*T, key func(*T) string) error {
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
	t, err := one[totalsDoc](ctx, s.totals, byID(totalsID))
	if errors.Is(err, picket.ErrNotFound) {
		return &totalsDoc{ID: totalsID}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	return &t, nil
}

// host returns the document of a host that is about to be changed, nil where
// no event came from it.
func (d *draft) host(name string) *hostDoc {
	h := d.hosts[name]
	if h != nil {
		h.Step = d.step
	}
	return h
}

func (d *draft) rule(a *picket.Alert) *ruleDoc {
	r := d.rules[a.RuleID]
	if r == nil {
		r = &ruleDoc{ID: a.RuleID}
		d.rules[a.RuleID] = r
	}
	r.Step, r.Title, r.Level = d.step, a.Title, a.Level.String()
	return r
}

func (d *draft) minute(start int64) *minuteDoc {
	id := minuteID(start)
	m := d.minutes[id]
	if m == nil {
		m = &minuteDoc{ID: id, Start: start, At: fromMicros(start)}
		d.minutes[id] = m
	}
	m.Step = d.step
	return m
}

// redo writes down what the draft has come to.
func (d *draft) redo() (*redo, error) {
	r := &redo{Step: d.step, At: d.now, Matches: d.matches, Batches: d.batches, Marks: d.marks, Gone: d.gone, GoneSeq: d.goneSeq}
	var err error
	add := func(c *mongo.Collection, p *putDocs) {
		if p.Collection = c.Name(); len(p.Docs) > 0 {
			r.Put = append(r.Put, *p)
		}
	}
	if d.totals != nil {
		d.totals.Step = d.step
		add(d.s.totals, marshal(&err, d.totals))
	}
	add(d.s.alerts, marshalStep(&err, d.alerts, func(a *alertDoc) bool { return a.Step == d.step }))
	add(d.s.hosts, marshalStep(&err, d.hosts, func(h *hostDoc) bool { return h.Step == d.step }))
	add(d.s.rules, marshalStep(&err, d.rules, func(r *ruleDoc) bool { return r.Step == d.step }))
	add(d.s.minutes, marshalStep(&err, d.minutes, func(m *minuteDoc) bool { return m.Step == d.step }))
	if d.follower != nil {
		d.follower.Step = d.step
		add(d.s.follower, marshal(&err, d.follower))
	}
	if len(d.observed) > 0 {
		text, jsonErr := json.Marshal(d.observed)
		err = errors.Join(err, jsonErr)
		r.Observed = zst.Fast(nil, text)
	}
	return r, err
}

func marshal(failed *error, doc any) *putDocs {
	raw, err := bson.Marshal(doc)
	*failed = errors.Join(*failed, err)
	return &putDocs{Docs: []bson.Raw{raw}}
}

// marshalStep writes the documents that the step changed.
func marshalStep[T any](failed *error, docs map[string]*T, changed func(*T) bool) *putDocs {
	p := new(putDocs)
	for _, doc := range docs {
		if changed(doc) {
			p.Docs = append(p.Docs, marshal(failed, doc).Docs...)
		}
	}
	return p
}
