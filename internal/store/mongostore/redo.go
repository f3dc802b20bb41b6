package mongostore

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/picket-edr/picket"
)

// A redoRecord is everything that a step changes: documents as they will be, and
// what it deletes.
type redoRecord struct {
	Step         int64      `bson:"step"`
	Put          []putDocs  `bson:"put"`
	Matches      []matchDoc `bson:"matches,omitempty"`
	Observations []byte     `bson:"observed,omitempty"`
	At           int64      `bson:"at"` // microseconds
	Batches      []batchDoc `bson:"batches,omitempty"`
	Marks        []string   `bson:"marks,omitempty"` // pending marks to delete
	Deleted      []string   `bson:"gone,omitempty"`  // ids of events to delete
	DeletedUpTo  int64      `bson:"gone_seq,omitempty"`
	// Ids of alerts to delete, and of rules whose counters are to be deleted.
	DeletedAlerts []string `bson:"gone_alerts,omitempty"`
	DeletedRules  []string `bson:"gone_rules,omitempty"`
}

// putDocs are documents of one collection to replace or insert. Each has the
// number of the step, and does not replace a document of a later step.
type putDocs struct {
	Collection string     `bson:"collection"`
	Docs       []bson.Raw `bson:"docs"`
}

// applyRedo makes the changes of a step. It may be called any number of times,
// concurrently by several processes. The batches come last: whoever sees one
// applied sees its effects.
func (s *Store) applyRedo(ctx context.Context, r *redoRecord) error {
	var g errgroup.Group
	for _, p := range r.Put {
		g.Go(func() error {
			if err := s.options.fault(p.Collection); err != nil {
				return err
			}
			return s.replaceOlder(ctx, r.Step, p)
		})
	}
	if len(r.Matches) > 0 {
		g.Go(func() error { return s.insertMatches(ctx, r.Matches) })
	}
	if r.Observations != nil {
		g.Go(func() error {
			if _, err := insertNew(ctx, s.observations, []any{observationsDoc{r.Step, r.At, r.Observations}}); err != nil {
				return fmt.Errorf("insert observations: %w", err)
			}
			return nil
		})
	}
	if len(r.Deleted) > 0 {
		g.Go(func() error { return s.deleteEvents(ctx, r.Deleted, r.DeletedUpTo) })
	}
	g.Go(func() error { return s.deleteOlder(ctx, r, r.DeletedAlerts, s.alerts.Name()) })
	g.Go(func() error { return s.deleteOlder(ctx, r, r.DeletedRules, s.ruleStats.Name()) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.options.fault("applied"); err != nil {
		return err
	}
	writes := make([]mongo.WriteModel, len(r.Batches))
	for i := range r.Batches {
		writes[i] = mongo.NewReplaceOneModel().SetFilter(byID(r.Batches[i].ID)).SetReplacement(&r.Batches[i])
	}
	if err := s.bulkWrite(ctx, s.batches, writes); err != nil {
		return fmt.Errorf("mark batches applied: %w", err)
	}
	if err := s.deletePendingBatches(ctx, r.Marks); err != nil {
		return fmt.Errorf("delete pending marks: %w", err)
	}
	return nil
}

func (s *Store) insertMatches(ctx context.Context, matches []matchDoc) error {
	if err := s.options.fault("matches"); err != nil {
		return err
	}
	docs := make([]any, len(matches))
	for i := range matches {
		docs[i] = &matches[i]
	}
	if _, err := insertNew(ctx, s.matches, docs); err != nil {
		return fmt.Errorf("insert matches: %w", err)
	}
	return nil
}

// replaceOlder replaces the documents of earlier steps and inserts those that do
// not exist. If a document of this or a later step exists, the filter selects
// nothing and the upsert fails because the _id is taken, which is fine.
func (s *Store) replaceOlder(ctx context.Context, step int64, p putDocs) error {
	c := s.db.Collection(p.Collection)
	if c.Name() == s.minutes.Name() {
		if err := shrinkMinutes(p.Docs); err != nil {
			return err
		}
	}
	if s.isFerretDB {
		return s.replaceOlderOneByOne(ctx, c, step, p.Docs)
	}
	writes := make([]mongo.WriteModel, len(p.Docs))
	for i, doc := range p.Docs {
		writes[i] = mongo.NewReplaceOneModel().SetFilter(beforeStep(doc, step)).SetReplacement(doc).SetUpsert(true)
	}
	err := s.bulkWrite(ctx, c, writes)
	if mongo.IsDuplicateKeyError(err) {
		return s.checkDuplicateKey(ctx, c, step, p.Docs, err)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p.Collection, err)
	}
	return nil
}

// maxMinuteBytes is more than a minute's document takes within store.MaxTypesPerMinute.
const maxMinuteBytes = 1 << 20

// shrinkMinutes makes minutes small that were journaled before their types were bounded
// and may be too large for MongoDB: the step could never be applied.
func shrinkMinutes(docs []bson.Raw) error {
	for i, raw := range docs {
		if len(raw) <= maxMinuteBytes {
			continue
		}
		var m minuteDoc
		err := bson.Unmarshal(raw, &m)
		if err == nil {
			m.Events = foldTypesPastLimit(m.Events)
			docs[i], err = bson.Marshal(&m)
		}
		if err != nil {
			return fmt.Errorf("shorten minute: %w", err)
		}
	}
	return nil
}

// checkDuplicateKey returns a duplicate key error, unless the key was the _id of
// the documents themselves, all of which exist.
func (s *Store) checkDuplicateKey(ctx context.Context, c *mongo.Collection, step int64, docs []bson.Raw, duplicate error) error {
	for _, doc := range docs {
		stored, err := findOne[struct {
			Step int64 `bson:"step"`
		}](ctx, c, byID(doc.Lookup("_id")))
		if err != nil && !errors.Is(err, picket.ErrNotFound) {
			return fmt.Errorf("write %s: %w", c.Name(), err)
		}
		if err != nil || stored.Step < step {
			return fmt.Errorf("write %s: %w", c.Name(), duplicate)
		}
	}
	return nil
}

// replaceOlderOneByOne is replaceOlder for FerretDB, which finds a document by its
// _id alone, reads a whole collection for any other filter, and stops at the
// first error.
func (s *Store) replaceOlderOneByOne(ctx context.Context, c *mongo.Collection, step int64, docs []bson.Raw) error {
	for _, doc := range docs {
		id := byID(doc.Lookup("_id"))
		stored, err := findOne[struct {
			Step int64 `bson:"step"`
		}](ctx, c, id)
		if err == nil && stored.Step >= step {
			continue
		}
		if err == nil || errors.Is(err, picket.ErrNotFound) {
			err = withTimeout(ctx, opTimeout, func(ctx context.Context) error {
				_, err := c.ReplaceOne(ctx, id, doc, options.Replace().SetUpsert(true))
				return err
			})
		}
		if mongo.IsDuplicateKeyError(err) { // another process may be applying the step too
			err = s.checkDuplicateKey(ctx, c, step, []bson.Raw{doc}, err)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", c.Name(), err)
		}
	}
	return nil
}

func beforeStep(doc bson.Raw, step int64) bson.D {
	return bson.D{bsonElem("_id", doc.Lookup("_id")), bsonElem("step", bson.D{bsonElem("$lt", step)})}
}

// addEventDeletions deletes events whose seq is at most upToSeq: an event with one of
// the ids that is stored again later stays.
func (s *Store) deleteEvents(ctx context.Context, ids []string, upToSeq int64) error {
	for len(ids) > 0 {
		n := min(maxOpItems, len(ids))
		err := deleteMany(ctx, s.events, bson.D{
			bsonElem("_id", bson.D{bsonElem("$in", ids[:n])}), bsonElem("seq", bson.D{bsonElem("$lte", upToSeq)}),
		})
		if err != nil {
			return fmt.Errorf("delete events: %w", err)
		}
		ids = ids[n:]
	}
	return nil
}
