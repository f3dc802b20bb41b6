package mongostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
)

// Save implements store.Events. All batches are saved in one transaction.
func (s *Store) Save(ctx context.Context, batches ...store.Batch) ([]store.SaveResult, error) {
	out, err := s.save(ctx, batches)
	if err != nil {
		return nil, fmt.Errorf("save %d batches: %w", len(batches), err)
	}
	return out, nil
}

func (s *Store) save(ctx context.Context, batches []store.Batch) ([]store.SaveResult, error) {
	if s.quit.Err() != nil {
		return nil, errClosed
	}
	v := &saving{store: s, batches: batches, keys: eventKeys(batches), isSaved: make(map[string]bool)}
	for _, b := range batches {
		if b.ID == "" {
			return nil, fmt.Errorf("a batch has no id: %w", picket.ErrInvalid)
		}
	}
	for {
		err := s.transact(ctx, func(txnCtx context.Context) error { return v.try(ctx, txnCtx) })
		if err == nil {
			s.commitQuota(v.quota)
			s.knownHosts.addAll(v.listed)
			return v.out, nil
		}
		if !errors.Is(err, errSavedBefore) {
			return nil, err
		}
		if err := v.findSaved(ctx); err != nil {
			return nil, err
		}
	}
}

// errSavedBefore: the id of a batch exists.
var errSavedBefore = errors.New("a batch was saved before")

// A saving is one call of Save.
type saving struct {
	store   *Store
	batches []store.Batch
	keys    [][]string             // of the events of each batch
	isSaved map[string]bool        // ids of batches that were saved before
	stored  map[string]storedEvent // by key, once the events are inserted
	// readMatches: matches of new events may be stored, because an event that was deleted
	// is stored again. That is rare, so it is found out when an insert fails.
	readMatches bool

	// Of the attempt that was committed.
	out    []store.SaveResult
	quota  *store.QuotaUse
	listed hostActivities // of hosts that are listed from now on, if they were not
}

// A batchDoc says that a batch is saved. It is deleted after batchIDRetention.
type batchDoc struct {
	ID string        `bson:"_id"`
	At bson.DateTime `bson:"at"`
}

// findSaved finds out which batches were saved before.
func (v *saving) findSaved(ctx context.Context) error {
	ids := make([]string, len(v.batches))
	for i := range v.batches {
		ids[i] = v.batches[i].ID
	}
	docs, err := findIn[batchDoc](ctx, v.store.batches, "_id", ids)
	if err != nil {
		return fmt.Errorf("look up batches: %w", err)
	}
	for _, d := range docs {
		v.isSaved[d.ID] = true
	}
	return nil
}

// Saved implements store.Events.
func (s *Store) Saved(ctx context.Context, batchID string) (bool, error) {
	_, err := findOne[batchDoc](ctx, s.batches, byID(batchID))
	if err != nil && !errors.Is(err, picket.ErrNotFound) {
		return false, fmt.Errorf("look up batch %s: %w", batchID, err)
	}
	return err == nil, nil
}

// try is one attempt. ctx is not part of the transaction, txnCtx is.
func (v *saving) try(ctx, txnCtx context.Context) error {
	s := v.store
	if err := v.insertIDs(txnCtx); err != nil {
		return err
	}
	t := newTxn(s)
	var unlisted map[store.HostKey]bool
	var g errgroup.Group
	if v.stored == nil {
		g.Go(func() error { return v.insertEvents(ctx) })
	}
	g.Go(func() (err error) {
		unlisted, err = v.read(txnCtx, t)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	effects := v.effects()
	v.plan(t, effects, unlisted)
	writes, err := v.observationWrites(effects)
	if err != nil {
		return err
	}
	err = s.writeAll(txnCtx, append(writes, t.writes()...))
	v.readMatches = hasCode(err, codeDuplicateKey)
	return err
}

// read reads what the transaction may change, and returns the hosts that are not listed.
func (v *saving) read(ctx context.Context, t *txn) (unlisted map[store.HostKey]bool, err error) {
	hosts, matches := make(map[store.HostKey]bool), make(map[string][]picket.Match)
	for i := range v.batches {
		b := &v.batches[i]
		if v.out[i].DuplicateBatch {
			continue
		}
		for k := range b.Events {
			hosts[store.HostKey{AgentID: b.Events[k].AgentID, Name: b.Events[k].Host}] = true
		}
		for k := range b.Matches {
			if sender := b.Sender(); !b.Matches[k].CorrelationOnly {
				matches[sender] = append(matches[sender], b.Matches[k])
			}
		}
	}
	if err := t.readOpenAlerts(ctx, matches); err != nil {
		return nil, err
	}
	if v.readMatches {
		if err := t.readKnownMatches(ctx, matches); err != nil {
			return nil, err
		}
	}
	return v.store.findUnlistedHosts(ctx, hosts)
}

// insertIDs inserts the ids of the batches, which makes sure that each is saved once.
func (v *saving) insertIDs(ctx context.Context) error {
	v.out = make([]store.SaveResult, len(v.batches))
	at, _ := toDate(v.store.options.Now())
	var docs []any
	ids := make(map[string]bool)
	for i := range v.batches {
		id := v.batches[i].ID
		if v.isSaved[id] || ids[id] {
			v.out[i].DuplicateBatch = true
			continue
		}
		ids[id] = true
		docs = append(docs, batchDoc{id, at})
	}
	if len(docs) == 0 {
		return nil
	}
	if err := v.store.options.fault(v.store.batches.Name()); err != nil {
		return err
	}
	_, err := v.store.batches.InsertMany(ctx, docs)
	if hasCode(err, codeDuplicateKey) {
		return errSavedBefore
	}
	return err
}

// A storedEvent is what a save has to know of an event that is stored.
type storedEvent struct {
	batch string // that has stored it
	hash  int64  // contentHash; 0: not known
}

// eventKeys returns the keys of the events of each batch. Most events have the namespace
// of the event before.
func eventKeys(batches []store.Batch) [][]string {
	keys := make([][]string, len(batches))
	last, namespace := new(picket.Event), ""
	for i := range batches {
		keys[i] = make([]string, len(batches[i].Events))
		for k := range batches[i].Events {
			ev := &batches[i].Events[k]
			if ev.Sender != last.Sender || ev.AgentID != last.AgentID || ev.Index != last.Index {
				last, namespace = ev, ev.Namespace()
			}
			keys[i][k] = picket.EventKey(ev.ID, namespace)
		}
	}
	return keys
}

// insertEvents inserts the events that are not stored yet, each for the first batch
// that has it, and reads what is stored of the others. The batch that has stored one may
// be the one that is being saved: in an earlier attempt, or by another process that is
// saving the same batch.
func (v *saving) insertEvents(ctx context.Context) error {
	s, stored := v.store, make(map[string]storedEvent)
	var docs []any
	var c eventCoder
	for i := range v.batches {
		if v.out[i].DuplicateBatch {
			continue
		}
		b := &v.batches[i]
		seq := s.seq.next(len(b.Events))
		for k := range b.Events {
			key := v.keys[i][k]
			if _, ok := stored[key]; ok {
				continue
			}
			d := c.encode(&b.Events[k], key, b.ID, seq+int64(k)*sequenceStep)
			stored[key] = storedEvent{d.Batch, d.Hash}
			docs = append(docs, d)
		}
	}
	existing, err := insertNew(ctx, s.events, docs)
	if err != nil {
		return fmt.Errorf("insert events: %w", err)
	}
	keys := make([]string, len(existing))
	for i, at := range existing {
		keys[i] = docs[at].(*eventDoc).ID
		stored[keys[i]] = storedEvent{}
	}
	known, err := findIn[eventDoc](ctx, s.eventsLocal, "_id", keys, options.Find().SetProjection(bson.D{bsonElem("batch", 1), bsonElem("hash", 1)}))
	if err != nil {
		return fmt.Errorf("look up existing events: %w", err)
	}
	for _, ev := range known {
		stored[ev.ID] = storedEvent{ev.Batch, ev.Hash}
	}
	v.stored = stored
	return nil
}

// batchEffects are what a batch adds besides its events.
type batchEffects struct {
	sender                              string
	stored, duplicate, conflicting, raw int64
	hosts                               []store.HostKey // in the order of their first events
	activity                            map[store.HostKey]*store.HostActivity
	minutes                             []store.MinuteCount
	matches                             []picket.Match
	observations                        []store.Observation
}

// effects returns the effects of the batches that were not saved before, and sets what is
// known of their results.
func (v *saving) effects() []*batchEffects {
	out := make([]*batchEffects, len(v.batches))
	counted := make(map[string]bool) // keys of events
	for i := range v.batches {
		b := &v.batches[i]
		if v.out[i].DuplicateBatch {
			out[i] = new(batchEffects)
			continue
		}
		isNew := make([]bool, len(b.Events))
		var conflicting []int
		for k := range b.Events {
			key := v.keys[i][k]
			if isNew[k] = v.stored[key].batch == b.ID && !counted[key]; isNew[k] {
				counted[key] = true
			} else if hash := v.stored[key].hash; hash != 0 && hash != contentHash(b.Events[k].Raw) {
				conflicting = append(conflicting, k)
			}
		}
		out[i] = newBatchEffects(b, isNew)
		out[i].conflicting = int64(len(conflicting))
		v.out[i].Stored, v.out[i].Duplicate, v.out[i].Conflicting = int(out[i].stored), int(out[i].duplicate), conflicting
	}
	return out
}

// newBatchEffects returns the effects of a batch; isNew says which events it has stored.
func newBatchEffects(b *store.Batch, isNew []bool) *batchEffects {
	out := &batchEffects{sender: b.Sender(), activity: make(map[store.HostKey]*store.HostActivity)}
	var minutes store.MinuteCounter
	for i := range b.Events {
		ev := &b.Events[i]
		if !isNew[i] {
			out.duplicate++
			continue
		}
		out.stored++
		out.raw += int64(len(ev.Raw))
		key := store.HostKey{AgentID: ev.AgentID, Name: ev.Host}
		h := out.activity[key]
		if h == nil {
			h = new(store.HostActivity)
			out.activity[key] = h
			out.hosts = append(out.hosts, key)
		}
		received := ev.Received.UnixMicro()
		h.Add(ev, received)
		minutes.Add(store.StartOfMinuteMicros(received), ev.Type)
	}
	out.minutes = minutes.Counts
	for _, m := range store.NewMatches(b, isNew) {
		if m.Observed != nil {
			out.observations = append(out.observations, store.NewObservation(&m))
		}
		if !m.CorrelationOnly {
			out.matches = append(out.matches, m)
		}
	}
	return out
}

// plan plans the changes of all batches.
func (v *saving) plan(t *txn, effects []*batchEffects, unlisted map[store.HostKey]bool) {
	s := v.store
	s.quotaLock.Lock()
	defer s.quotaLock.Unlock()
	v.quota = t.quota
	opened := make([][]*openAlert, len(effects))
	for i, e := range effects {
		t.countEvents(e, unlisted)
		v.out[i].Matches, opened[i] = t.addMatches(e.sender, e.matches, false)
	}
	for i := range opened {
		v.out[i].Opened = alertsOf(opened[i])
	}
	v.listed = t.activity
}

// countEvents adds the events of a batch to the counters and hosts. unlisted are the hosts
// that are not listed yet.
func (t *txn) countEvents(e *batchEffects, unlisted map[store.HostKey]bool) {
	t.counters.addToTotals("stored", e.stored)
	t.counters.addToTotals("duplicate", e.duplicate)
	t.counters.addToTotals("conflicting", e.conflicting)
	t.counters.addToTotals("raw", e.raw)
	t.quota.AddEventBytes(e.sender, int(e.raw))
	for _, m := range e.minutes {
		t.counters.addToMinute(m.Minute, "events", t.store.types.name(m.Minute, m.Type), m.N)
	}
	for _, key := range e.hosts {
		if unlisted[key] {
			if !t.quota.AddHost(e.sender) {
				continue
			}
			delete(unlisted, key)
		}
		t.activity.add(key, e.activity[key])
	}
}

// maxObservationsBytes is about how much one document of observations has, as JSON.
const maxObservationsBytes = 1 << 20

// observationWrites returns the insertions of the observations of all batches.
func (v *saving) observationWrites(effects []*batchEffects) (writes []write, err error) {
	s := v.store
	at := s.options.Now().UnixMicro()
	for _, e := range effects {
		for from := 0; from < len(e.observations); {
			to, size := from, 0
			for to < len(e.observations) && size < maxObservationsBytes {
				size += e.observations[to].Size()
				to++
			}
			text, err := json.Marshal(e.observations[from:to])
			if err != nil {
				return nil, fmt.Errorf("encode observations: %w", err)
			}
			writes = append(writes, insertOf(s.observations, observationsDoc{Seq: s.seq.next(1), At: at, Data: zst.CompressForSpeed(nil, text)}))
			from = to
		}
	}
	return writes, nil
}
