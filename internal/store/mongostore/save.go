package mongostore

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
)

// Save implements store.Events. Of several batches, each is saved by itself.
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
	out := make([]store.SaveResult, len(batches))
	if err := s.findDuplicateBatches(ctx, batches, out); err != nil {
		return nil, err
	}
	keys := eventKeys(batches)
	var stored map[string]storedEvent
	var g errgroup.Group
	g.Go(func() error { return s.insertPendingMarks(ctx, batches, out) })
	g.Go(func() (err error) { stored, err = s.saveEvents(ctx, batches, keys, out); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	toApply, err := s.insertBatches(ctx, batches, keys, out, stored)
	if err != nil {
		return nil, err
	}
	if len(toApply) == 0 {
		s.wakeBackground()
		return out, nil
	}
	if err := s.applyAllPending(ctx); err != nil {
		return nil, err
	}
	return out, s.readResults(ctx, batches, toApply, out)
}

// findDuplicateBatches sets DuplicateBatch for the batches that were saved before
// or are in this call twice.
func (s *Store) findDuplicateBatches(ctx context.Context, batches []store.Batch, out []store.SaveResult) error {
	ids := make([]string, len(batches))
	for i, b := range batches {
		if ids[i] = b.ID; b.ID == "" {
			return fmt.Errorf("a batch has no id: %w", picket.ErrInvalid)
		}
	}
	saved, err := findIn[batchDoc](ctx, s, s.batches, "_id", ids, options.Find().SetProjection(byID(1)))
	if err != nil {
		return fmt.Errorf("look up batches: %w", err)
	}
	known := make(map[string]bool)
	for _, b := range saved {
		known[b.ID] = true
	}
	for i := range batches {
		out[i].DuplicateBatch = known[ids[i]]
		known[ids[i]] = true
	}
	return nil
}

// Saved implements store.Events.
func (s *Store) Saved(ctx context.Context, batchID string) (bool, error) {
	saved, err := findIn[batchDoc](ctx, s, s.batches, "_id", []string{batchID}, options.Find().SetProjection(byID(1)))
	if err != nil {
		return false, fmt.Errorf("look up batch %s: %w", batchID, err)
	}
	return len(saved) > 0, nil
}

// A pendingDoc marks a batch that is being saved, until its effects are applied.
type pendingDoc struct {
	ID  string `bson:"_id"`
	Seq int64  `bson:"seq"`
}

// insertPendingMarks marks batches as pending. This comes before they are saved, so that
// none is missed.
func (s *Store) insertPendingMarks(ctx context.Context, batches []store.Batch, out []store.SaveResult) error {
	var docs []any
	seq := s.seq.next(len(batches))
	for i := range batches {
		if !out[i].DuplicateBatch {
			docs = append(docs, pendingDoc{batches[i].ID, seq + int64(i)})
		}
	}
	if _, err := insertNew(ctx, s.pendingMarks, docs); err != nil {
		return fmt.Errorf("mark batches pending: %w", err)
	}
	return nil
}

// The greatest size of a batch's effects, encoded and decoded, so that a step can
// apply them: its redo record, which repeats names in other forms, must fit into a
// document of MongoDB.
const (
	maxEffectsBytes        = 3 << 20
	maxDecodedEffectsBytes = 16 << 20
)

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

// saveEvents inserts the events that are not stored yet, each for the first batch
// that has it, and returns what is stored under each key.
func (s *Store) saveEvents(ctx context.Context, batches []store.Batch, keys [][]string, out []store.SaveResult) (stored map[string]storedEvent, err error) {
	stored = make(map[string]storedEvent)
	var docs []any
	var c eventCoder
	for i := range batches {
		if out[i].DuplicateBatch {
			continue
		}
		seq := s.seq.next(len(batches[i].Events))
		for k := range batches[i].Events {
			key := keys[i][k]
			if _, ok := stored[key]; ok {
				continue
			}
			d := c.encode(&batches[i].Events[k], key, batches[i].ID, seq+int64(k))
			stored[key] = storedEvent{d.Batch, d.Hash}
			docs = append(docs, d)
		}
	}
	existing, err := insertNew(ctx, s.events, docs)
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", err)
	}
	if len(existing) == 0 {
		return stored, nil
	}
	known := make([]string, len(existing))
	for i, at := range existing {
		known[i] = docs[at].(*eventDoc).ID
	}
	return stored, s.readStored(ctx, known, stored)
}

// readStored reads what is stored under some keys. The batch may be the one that is
// being saved: in an earlier attempt, or by another process that is saving the same
// batch.
func (s *Store) readStored(ctx context.Context, keys []string, stored map[string]storedEvent) error {
	for _, key := range keys {
		stored[key] = storedEvent{}
	}
	docs, err := findIn[struct {
		ID    string `bson:"_id"`
		Batch string `bson:"batch"`
		Hash  int64  `bson:"hash"`
	}](ctx, s, s.eventsLocal, "_id", keys, options.Find().SetProjection(bson.D{bsonElem("batch", 1), bsonElem("hash", 1)}))
	if err != nil {
		return fmt.Errorf("look up existing events: %w", err)
	}
	for _, ev := range docs {
		stored[ev.ID] = storedEvent{ev.Batch, ev.Hash}
	}
	return nil
}

// insertBatches saves the batches: whoever inserts a batch's document has saved
// it, and for all others it is a duplicate. It returns the batches that have
// matches or observations, which a step must apply before Save returns.
func (s *Store) insertBatches(ctx context.Context, batches []store.Batch, keys [][]string, out []store.SaveResult, stored map[string]storedEvent) (toApply []int, err error) {
	counted := make(map[string]bool) // keys of events
	var docs []any
	var docBatch []int
	now := s.options.Now().UnixMicro()
	for i := range batches {
		b := &batches[i]
		if out[i].DuplicateBatch {
			continue
		}
		isNew := make([]bool, len(b.Events))
		var conflicting []int
		for k := range b.Events {
			key := keys[i][k]
			if isNew[k] = stored[key].batch == b.ID && !counted[key]; isNew[k] {
				counted[key] = true
			} else if hash := stored[key].hash; hash != 0 && hash != contentHash(b.Events[k].Raw) {
				conflicting = append(conflicting, k)
			}
		}
		effects := newBatchEffects(b, isNew)
		effects.Conflicting = int64(len(conflicting))
		data, err := effects.encode()
		if err != nil {
			return nil, err
		}
		if len(data) > maxEffectsBytes || zst.DecompressedSize(data) > maxDecodedEffectsBytes {
			return nil, fmt.Errorf("batch %s has %d matches, %d bytes: %w", b.ID, len(effects.Matches), len(data), picket.ErrInvalid)
		}
		out[i].Stored, out[i].Duplicate, out[i].Conflicting = int(effects.Stored), int(effects.Duplicate), conflicting
		docs = append(docs, batchDoc{ID: b.ID, At: now, Pending: true, Data: data})
		docBatch = append(docBatch, i)
		if len(effects.Matches)+len(effects.Observations) > 0 {
			toApply = append(toApply, i)
		}
	}
	if err := s.options.fault("batches"); err != nil {
		return nil, err
	}
	existing, err := insertNew(ctx, s.batches, docs)
	if err != nil {
		return nil, fmt.Errorf("insert batches: %w", err)
	}
	for _, at := range existing {
		out[docBatch[at]] = store.SaveResult{DuplicateBatch: true}
	}
	return toApply, nil
}

// readResults reads how many matches were new and which alerts were opened, once
// the batches have been applied.
func (s *Store) readResults(ctx context.Context, batches []store.Batch, toApply []int, out []store.SaveResult) error {
	for _, i := range toApply {
		if out[i].DuplicateBatch {
			continue
		}
		b, err := findOne[batchDoc](ctx, s.batches, byID(batches[i].ID))
		if err != nil {
			return fmt.Errorf("read the result of batch %s: %w", batches[i].ID, err)
		}
		if out[i].Matches = b.Matches; len(b.Opened) == 0 {
			continue
		}
		if out[i].Opened, err = s.alertsByID(ctx, b.Opened); err != nil {
			return fmt.Errorf("read the alerts that batch %s opened: %w", b.ID, err)
		}
	}
	return nil
}

// alertsByID returns the alerts of ids, in their order.
func (s *Store) alertsByID(ctx context.Context, ids []string) ([]picket.Alert, error) {
	docs, err := findIn[alertDoc](ctx, s, s.alerts, "_id", ids)
	if err != nil {
		return nil, err
	}
	byAlertID := make(map[string]*alertDoc)
	for i := range docs {
		byAlertID[docs[i].ID] = &docs[i]
	}
	var out []picket.Alert
	for _, id := range ids {
		if d := byAlertID[id]; d != nil {
			out = append(out, d.alert())
		}
	}
	return out, nil
}
