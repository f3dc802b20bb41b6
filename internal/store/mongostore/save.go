package mongostore

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
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
	if err := s.repeated(ctx, batches, out); err != nil {
		return nil, err
	}
	var owner map[string]string
	err := together([]func() error{
		func() error { return s.mark(ctx, batches, out) },
		func() (err error) { owner, err = s.saveEvents(ctx, batches, out); return err },
	})
	if err != nil {
		return nil, err
	}
	wait, err := s.commit(ctx, batches, out, owner)
	if err != nil {
		return nil, err
	}
	if len(wait) == 0 {
		s.nudge()
		return out, nil
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	return out, s.results(ctx, batches, wait, out)
}

// repeated marks the batches that were saved before, or are in this call twice.
func (s *Store) repeated(ctx context.Context, batches []store.Batch, out []store.SaveResult) error {
	ids := make([]string, len(batches))
	for i, b := range batches {
		if ids[i] = b.ID; b.ID == "" {
			return fmt.Errorf("a batch has no id: %w", picket.ErrInvalid)
		}
	}
	known, err := findIn[batchDoc](ctx, s, s.batches, "_id", ids, options.Find().SetProjection(byID(1)))
	if err != nil {
		return fmt.Errorf("look up batches: %w", err)
	}
	seen := make(map[string]bool)
	for _, b := range known {
		seen[b.ID] = true
	}
	for i := range batches {
		out[i].DuplicateBatch = seen[ids[i]]
		seen[ids[i]] = true
	}
	return nil
}

// A pendingDoc marks a batch that is being saved, until it is folded.
type pendingDoc struct {
	ID  string `bson:"_id"`
	Seq int64  `bson:"seq"`
}

// mark enters batches among those to be folded. It comes before they are saved,
// so that none is missed.
func (s *Store) mark(ctx context.Context, batches []store.Batch, out []store.SaveResult) error {
	var docs []any
	seq := s.seq.next(len(batches))
	for i := range batches {
		if !out[i].DuplicateBatch {
			docs = append(docs, pendingDoc{batches[i].ID, seq + int64(i)})
		}
	}
	if _, err := insertNew(ctx, s.pending, docs); err != nil {
		return fmt.Errorf("mark batches: %w", err)
	}
	return nil
}

// maxBrought is what a batch may bring, so that it can be folded.
const maxBrought = 8 << 20

// saveEvents stores the events that are not there, each as of the first of the
// batches that has it, and returns which batch each event is of.
func (s *Store) saveEvents(ctx context.Context, batches []store.Batch, out []store.SaveResult) (map[string]string, error) {
	owner := make(map[string]string)
	var docs []any
	var c coder
	for i := range batches {
		if out[i].DuplicateBatch {
			continue
		}
		seq := s.seq.next(len(batches[i].Events))
		for k := range batches[i].Events {
			ev := &batches[i].Events[k]
			if _, ok := owner[ev.ID]; ok {
				continue
			}
			owner[ev.ID] = batches[i].ID
			docs = append(docs, c.encode(ev, batches[i].ID, seq+int64(k)))
		}
	}
	there, err := insertNew(ctx, s.events, docs)
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", err)
	}
	if len(there) == 0 {
		return owner, nil
	}
	// Of the events that are there, this batch has those that an attempt before
	// stored for it; and so has whoever else is at this batch.
	known := make([]string, len(there))
	for i, at := range there {
		known[i] = docs[at].(*eventDoc).ID
		owner[known[i]] = ""
	}
	owned, err := findIn[struct {
		ID    string `bson:"_id"`
		Batch string `bson:"batch"`
	}](ctx, s, s.owners, "_id", known, options.Find().SetProjection(bson.D{where("batch", 1)}))
	if err != nil {
		return nil, fmt.Errorf("look up events that are there: %w", err)
	}
	for _, ev := range owned {
		owner[ev.ID] = ev.Batch
	}
	return owner, nil
}

// commit saves the batches: who inserts a batch's document has saved it, and
// all others repeated it. It returns those of which a step must be awaited.
func (s *Store) commit(ctx context.Context, batches []store.Batch, out []store.SaveResult, owner map[string]string) ([]int, error) {
	taken := make(map[string]bool)
	var docs []any
	var of, wait []int
	now := s.opt.Now().UnixMicro()
	for i := range batches {
		b := &batches[i]
		if out[i].DuplicateBatch {
			continue
		}
		isNew := make([]bool, len(b.Events))
		for k := range b.Events {
			id := b.Events[k].ID
			if isNew[k] = owner[id] == b.ID && !taken[id]; isNew[k] {
				taken[id] = true
			}
		}
		br := bring(b, isNew)
		data, err := br.encode()
		if err != nil {
			return nil, err
		}
		if len(data) > maxBrought {
			return nil, fmt.Errorf("batch %s brings %d matches, %d bytes: %w", b.ID, len(br.Matches), len(data), picket.ErrInvalid)
		}
		out[i].Stored, out[i].Duplicate = int(br.Stored), int(br.Duplicate)
		docs = append(docs, batchDoc{ID: b.ID, At: now, Pending: true, Data: data})
		of = append(of, i)
		if len(br.Matches)+len(br.Observed) > 0 {
			wait = append(wait, i)
		}
	}
	if err := s.opt.fault("batches"); err != nil {
		return nil, err
	}
	there, err := insertNew(ctx, s.batches, docs)
	if err != nil {
		return nil, fmt.Errorf("insert batches: %w", err)
	}
	for _, at := range there {
		out[of[at]] = store.SaveResult{DuplicateBatch: true}
	}
	return wait, nil
}

// results fills in what a step made of the matches of batches.
func (s *Store) results(ctx context.Context, batches []store.Batch, wait []int, out []store.SaveResult) error {
	for _, i := range wait {
		if out[i].DuplicateBatch {
			continue
		}
		b, err := one[batchDoc](ctx, s.batches, byID(batches[i].ID))
		if err != nil {
			return fmt.Errorf("read what became of batch %s: %w", batches[i].ID, err)
		}
		if out[i].Matches = b.Matches; len(b.Opened) == 0 {
			continue
		}
		if out[i].Opened, err = s.alertsOf(ctx, b.Opened); err != nil {
			return fmt.Errorf("read the alerts that batch %s opened: %w", b.ID, err)
		}
	}
	return nil
}

// alertsOf returns the alerts of ids, in their order.
func (s *Store) alertsOf(ctx context.Context, ids []string) ([]picket.Alert, error) {
	docs, err := findIn[alertDoc](ctx, s, s.alerts, "_id", ids)
	if err != nil {
		return nil, err
	}
	of := make(map[string]*alertDoc)
	for i := range docs {
		of[docs[i].ID] = &docs[i]
	}
	var out []picket.Alert
	for _, id := range ids {
		if d := of[id]; d != nil {
			out = append(out, d.alert())
		}
	}
	return out, nil
}
