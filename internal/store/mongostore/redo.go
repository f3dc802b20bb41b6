package mongostore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
)

// A redo is all that a step does, in documents as they shall be.
type redo struct {
	Step     int64      `bson:"step"`
	Put      []putDocs  `bson:"put"`
	Matches  []matchDoc `bson:"matches,omitempty"`
	Observed []byte     `bson:"observed,omitempty"`
	At       int64      `bson:"at"` // when, microseconds
	Batches  []batchDoc `bson:"batches,omitempty"`
	Marks    []string   `bson:"marks,omitempty"` // of pending batches, to take away
	Gone     []string   `bson:"gone,omitempty"`  // events to delete
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
	if err := s.bulk(ctx, s.batches, writes); err != nil {
		return fmt.Errorf("mark batches folded: %w", err)
	}
	if err := s.unmark(ctx, r.Marks); err != nil {
		return fmt.Errorf("take away marks: %w", err)
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
// there. Where there is one of this or a later step, the filter selects nothing
// and the upsert finds the _id taken, which is as it should be.
func (s *Store) put(ctx context.Context, step int64, p putDocs) error {
	c := s.db.Collection(p.Collection)
	if s.ferret {
		return s.putEach(ctx, c, step, p.Docs)
	}
	writes := make([]mongo.WriteModel, len(p.Docs))
	for i, doc := range p.Docs {
		writes[i] = mongo.NewReplaceOneModel().SetFilter(olderThan(doc, step)).SetReplacement(doc).SetUpsert(true)
	}
	err := s.bulk(ctx, c, writes)
	if mongo.IsDuplicateKeyError(err) {
		return s.check(ctx, c, step, p.Docs, err)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p.Collection, err)
	}
	return nil
}

// check reports an error of a key that was taken, unless it was that of the
// documents themselves, which are there.
func (s *Store) check(ctx context.Context, c *mongo.Collection, step int64, docs []bson.Raw, taken error) error {
	for _, doc := range docs {
		there, err := one[struct {
			Step int64 `bson:"step"`
		}](ctx, c, byID(doc.Lookup("_id")))
		if err != nil && !errors.Is(err, picket.ErrNotFound) {
			return fmt.Errorf("write %s: %w", c.Name(), err)
		}
		if err != nil || there.Step < step {
			return fmt.Errorf("write %s: %w", c.Name(), taken)
		}
	}
	return nil
}

// putEach is put for FerretDB, which finds a document by its _id alone, reads
// all of a collection for any other filter, and stops at the first error.
func (s *Store) putEach(ctx context.Context, c *mongo.Collection, step int64, docs []bson.Raw) error {
	for _, doc := range docs {
		id := byID(doc.Lookup("_id"))
		there, err := one[struct {
			Step int64 `bson:"step"`
		}](ctx, c, id)
		if err == nil && there.Step >= step {
			continue
		}
		if err == nil || errors.Is(err, picket.ErrNotFound) {
			err = op(ctx, opTimeout, func(ctx context.Context) error {
				_, err := c.ReplaceOne(ctx, id, doc, options.Replace().SetUpsert(true))
				return err
			})
		}
		if mongo.IsDuplicateKeyError(err) { // perhaps another carries it out, too
			err = s.check(ctx, c, step, []bson.Raw{doc}, err)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", c.Name(), err)
		}
	}
	return nil
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
