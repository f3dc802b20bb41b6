package mongostore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// A redo is all that a step does, in documents as they shall be.
type redo struct {
	Step     int64      `bson:"step"`
	Put      []putDocs  `bson:"put"`
	Matches  []matchDoc `bson:"matches,omitempty"`
	Observed []byte     `bson:"observed,omitempty"`
	At       int64      `bson:"at"` // when, microseconds
	Batches  []batchDoc `bson:"batches,omitempty"`
	Gone     []string   `bson:"gone,omitempty"` // events to delete
	GoneSeq  int64      `bson:"gone_seq,omitempty"`
}

// putDocs are documents of a collection that the step replaces or adds. Each
// has its step, and does not replace one of a later step.
type putDocs struct {
	Collection string     `bson:"collection"`
	Docs       []bson.Raw `bson:"docs"`
}

// apply does what a redo says. It may be done any number of times, by several
// at once. The batches come last: who sees one done sees what it did.
func (s *Store) apply(ctx context.Context, r *redo) error {
	var parts []func() error
	for _, p := range r.Put {
		parts = append(parts, func() error {
			if err := s.opt.fault(p.Collection); err != nil {
				return err
			}
			return s.put(ctx, r.Step, p)
		})
	}
	if len(r.Matches) > 0 {
		parts = append(parts, func() error {
			if err := s.opt.fault("matches"); err != nil {
				return err
			}
			docs := make([]any, len(r.Matches))
			for i := range r.Matches {
				docs[i] = &r.Matches[i]
			}
			if _, err := insertNew(ctx, s.matches, docs); err != nil {
				return fmt.Errorf("insert matches: %w", err)
			}
			return nil
		})
	}
	if r.Observed != nil {
		parts = append(parts, func() error {
			if _, err := insertNew(ctx, s.observations, []any{observedDoc{r.Step, r.At, r.Observed}}); err != nil {
				return fmt.Errorf("insert observations: %w", err)
			}
			return nil
		})
	}
	if len(r.Gone) > 0 {
		parts = append(parts, func() error { return s.deleteEvents(ctx, r.Gone, r.GoneSeq) })
	}
	if err := together(parts); err != nil {
		return err
	}
	if err := s.opt.fault("folded"); err != nil {
		return err
	}
	writes := make([]mongo.WriteModel, len(r.Batches))
	for i := range r.Batches {
		writes[i] = mongo.NewReplaceOneModel().SetFilter(byID(r.Batches[i].ID)).SetReplacement(&r.Batches[i])
	}
	if _, err := s.bulk(ctx, s.batches, writes); err != nil {
		return fmt.Errorf("mark batches folded: %w", err)
	}
	return nil
}

// together runs functions at the same time.
func together(parts []func() error) error {
	errs := make([]error, len(parts))
	var work sync.WaitGroup
	for i, f := range parts {
		work.Go(func() { errs[i] = f() })
	}
	work.Wait()
	return errors.Join(errs...)
}

// put replaces documents that are of steps before, and adds those that are not
// there. An upsert would do both, but FerretDB ends a bulk at the first that
// finds the _id taken, as those of two processes at once do.
func (s *Store) put(ctx context.Context, step int64, p putDocs) error {
	c := s.db.Collection(p.Collection)
	replaced, err := s.replace(ctx, c, step, p.Docs)
	if err == nil && replaced < len(p.Docs) {
		err = s.add(ctx, c, step, p.Docs, len(p.Docs)-replaced)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p.Collection, err)
	}
	return nil
}

// replace replaces documents that are of steps before, and returns how many.
func (s *Store) replace(ctx context.Context, c *mongo.Collection, step int64, docs []bson.Raw) (int, error) {
	writes := make([]mongo.WriteModel, len(docs))
	for i, doc := range docs {
		writes[i] = mongo.NewReplaceOneModel().SetFilter(olderThan(doc, step)).SetReplacement(doc)
	}
	return s.bulk(ctx, c, writes)
}

// add inserts those of docs that are not there, fresh at most. Some may have
// come in meanwhile, by an earlier step that another process carries out.
func (s *Store) add(ctx context.Context, c *mongo.Collection, step int64, docs []bson.Raw, fresh int) error {
	all := make([]any, len(docs))
	for i := range docs {
		all[i] = docs[i]
	}
	known, err := insertNew(ctx, c, all)
	if err != nil || len(docs)-len(known) == fresh {
		return err
	}
	_, err = s.replace(ctx, c, step, docs)
	return err
}

func olderThan(doc bson.Raw, step int64) bson.D {
	return bson.D{where("_id", doc.Lookup("_id")), where("step", bson.D{where("$lt", step)})}
}

// deleteEvents deletes events that were stored up to seq: one of their ids that
// is stored again later stays.
func (s *Store) deleteEvents(ctx context.Context, ids []string, seq int64) error {
	for len(ids) > 0 {
		n := min(chunk, len(ids))
		err := remove(ctx, s.events, bson.D{
			where("_id", bson.D{where("$in", ids[:n])}), where("seq", bson.D{where("$lte", seq)}),
		})
		if err != nil {
			return fmt.Errorf("delete events: %w", err)
		}
		ids = ids[n:]
	}
	return nil
}
