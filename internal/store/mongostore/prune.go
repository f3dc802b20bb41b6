package mongostore

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket/internal/store"
)

const (
	batchIDRetention    = 7 * 24 * time.Hour
	rollupRetention     = 400 * 24 * time.Hour
	maxDeletionsPerStep = 2000 // events deleted in one step, so that other steps are not held up
)

// PruneEvents implements store.Events. MaxBytes limits the size of the events as
// received, because the server does not tell what they take after compression.
func (s *Store) PruneEvents(ctx context.Context, r store.Retention) (int64, error) {
	deleted, err := s.prune(ctx, r)
	if err != nil {
		return deleted, fmt.Errorf("prune: %w", err)
	}
	return deleted, nil
}

func (s *Store) prune(ctx context.Context, r store.Retention) (int64, error) {
	deleted := int64(0)
	if r.MaxAge > 0 {
		_, before := store.TimeRangeMicros(time.Time{}, r.Now.Add(-r.MaxAge))
		n, err := s.pruneReceivedBefore(ctx, before)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	if r.MaxBytes > 0 {
		n, err := s.pruneToSize(ctx, r.MaxBytes)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	if err := deleteMany(ctx, s.minutes, bson.D{bsonElem("start", bson.D{bsonElem("$lt", r.Now.Add(-rollupRetention).UnixMicro())})}); err != nil {
		return deleted, err
	}
	err := deleteMany(ctx, s.batches, bson.D{
		bsonElem("at", bson.D{bsonElem("$lt", r.Now.Add(-batchIDRetention).UnixMicro())}), bsonElem("pending", bson.D{bsonElem("$ne", true)}),
	})
	return deleted, err
}

// An oldEvent is what pruning reads of an event.
type oldEvent struct {
	ID       string        `bson:"_id"`
	Seq      int64         `bson:"seq"`
	Raw      bson.RawValue `bson:"raw"`
	Received bson.DateTime `bson:"received"`
	RecvUS   int32         `bson:"received_us"`

	bytes int64 // as received
}

// findOldest returns the first events in the order of a field.
func (s *Store) findOldest(ctx context.Context, filter bson.D, by string) ([]oldEvent, error) {
	var out []oldEvent
	err := withTimeout(ctx, scanTimeout, func(ctx context.Context) error {
		cur, err := s.events.Find(ctx, filter, options.Find().SetSort(bson.D{bsonElem(by, 1)}).SetLimit(maxDeletionsPerStep).
			SetProjection(bson.D{bsonElem("seq", 1), bsonElem("raw", 1), bsonElem("received", 1), bsonElem("received_us", 1)}))
		if err != nil {
			return err
		}
		defer cur.Close(ctx)
		for cur.Next(ctx) {
			var ev oldEvent
			if err := cur.Decode(&ev); err != nil {
				return err
			}
			if text, ok := ev.Raw.StringValueOK(); ok {
				ev.bytes = int64(len(text))
			} else if _, b, ok := ev.Raw.BinaryOK(); ok {
				ev.bytes = int64(len(b))
			}
			ev.Raw = bson.RawValue{} // release the memory of large events
			out = append(out, ev)
		}
		return cur.Err()
	})
	return out, err
}

// pruneReceivedBefore deletes the events received before a time.
func (s *Store) pruneReceivedBefore(ctx context.Context, before int64) (int64, error) {
	deleted := int64(0)
	for {
		n := 0
		err := s.runStep(ctx, func(ctx context.Context, t *txn) (bool, error) {
			// The query is to the millisecond, the loop to the microsecond.
			found, err := s.findOldest(ctx, bson.D{bsonElem("received", bson.D{bsonElem("$lte", bson.DateTime(millisOfMicros(before)))})}, "received")
			if err != nil {
				return false, err
			}
			old := found[:0]
			for _, ev := range found {
				if fromDate(ev.Received, ev.RecvUS).UnixMicro() < before {
					old = append(old, ev)
				}
			}
			n, err = t.addEventDeletions(ctx, old, -1)
			return n > 0, err
		})
		deleted += int64(n)
		if err != nil || n == 0 {
			return deleted, err
		}
	}
}

// pruneToSize deletes the events stored first until the rest has at most limit
// bytes.
func (s *Store) pruneToSize(ctx context.Context, limit int64) (int64, error) {
	if err := s.ensureApplied(ctx); err != nil {
		return 0, err
	}
	deleted := int64(0)
	for {
		n := 0
		err := s.runStep(ctx, func(ctx context.Context, t *txn) (bool, error) {
			n = 0
			totals, err := s.readTotals(ctx)
			if err != nil || totals.Raw-totals.DeletedRaw <= limit {
				return false, err
			}
			old, err := s.findOldest(ctx, bson.D{}, "seq")
			if err != nil {
				return false, err
			}
			n, err = t.addEventDeletions(ctx, old, totals.Raw-totals.DeletedRaw-limit)
			return n > 0, err
		})
		if err != nil {
			return deleted, err
		}
		if deleted += int64(n); n == 0 {
			return deleted, nil
		}
	}
}

// addEventDeletions adds the deletion of events to the step: of so many that they have
// some bytes in all or, if bytes is negative, of all. It returns their number.
func (t *txn) addEventDeletions(ctx context.Context, old []oldEvent, bytes int64) (int, error) {
	if len(old) == 0 {
		return 0, nil
	}
	var err error
	if t.totals, err = t.store.readTotals(ctx); err != nil {
		return 0, err
	}
	for _, ev := range old {
		t.deleted = append(t.deleted, ev.ID)
		t.deletedUpTo = max(t.deletedUpTo, ev.Seq)
		t.totals.Deleted++
		t.totals.DeletedRaw += ev.bytes
		if bytes < 0 {
			continue
		}
		if bytes -= ev.bytes; bytes <= 0 {
			break
		}
	}
	return len(t.deleted), nil
}
