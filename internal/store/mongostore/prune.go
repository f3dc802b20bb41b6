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
	batchIDRetention = 24 * time.Hour
	minuteRetention  = 400 * 24 * time.Hour
	// maxDeletions is how many events one transaction deletes.
	maxDeletions = 2000
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

func (s *Store) prune(ctx context.Context, r store.Retention) (deleted int64, err error) {
	if r.MaxAge > 0 {
		_, before := store.TimeRangeMicros(time.Time{}, r.Now.Add(-r.MaxAge))
		// The query is to the millisecond, the decision to the microsecond.
		old := bson.D{bsonElem("received", bson.D{bsonElem("$lte", bson.DateTime(millisOfMicros(before)))})}
		deleted, err = s.deleteOldest(ctx, old, func(context.Context) (pastFunc, error) {
			return func(ev *oldEvent) bool { return fromDate(ev.Received, ev.RecvUS).UnixMicro() < before }, nil
		})
	}
	if err == nil && r.MaxBytes > 0 {
		var n int64
		n, err = s.deleteOldest(ctx, bson.D{}, func(ctx context.Context) (pastFunc, error) { return s.pastBytes(ctx, r.MaxBytes) })
		deleted += n
	}
	if err == nil {
		err = deleteMany(ctx, s.counters, idRange(minutePrefix, minuteCounterPrefix(r.Now.Add(-minuteRetention).UnixMicro())))
	}
	return deleted, err
}

// A pastFunc reports whether an event is past its retention. It is called with the events
// received first, in order.
type pastFunc func(ev *oldEvent) bool

// pastBytes returns the pastFunc of a limit of the bytes of all events; nil if they are
// within it.
func (s *Store) pastBytes(ctx context.Context, limit int64) (pastFunc, error) {
	totals, err := s.readTotals(ctx)
	left := totals.Raw - totals.DeletedRaw
	if err != nil || left <= limit {
		return nil, err
	}
	return func(ev *oldEvent) bool {
		past := left > limit
		left -= ev.Bytes
		return past
	}, nil
}

// An oldEvent is what pruning reads of an event.
type oldEvent struct {
	ID       string        `bson:"_id"`
	Bytes    int64         `bson:"bytes"`
	Received bson.DateTime `bson:"received"`
	RecvUS   int32         `bson:"received_us"`
}

// deleteOldest deletes the events received first of those that a filter selects, as far as
// they are past, in transactions of maxDeletions. Several processes may do so at once.
func (s *Store) deleteOldest(ctx context.Context, filter bson.D, newPast func(ctx context.Context) (pastFunc, error)) (deleted int64, err error) {
	for {
		n := 0
		err := s.transact(ctx, func(ctx context.Context) error {
			n = 0
			past, err := newPast(ctx)
			if err == nil && past != nil {
				n, err = s.deletePart(ctx, filter, past)
			}
			return err
		})
		if err != nil || n == 0 {
			return deleted, err
		}
		deleted += int64(n)
	}
}

// deletePart deletes one part of the events that are past, in a transaction.
func (s *Store) deletePart(ctx context.Context, filter bson.D, past pastFunc) (int, error) {
	events, err := find[oldEvent](ctx, s.events, filter, options.Find().SetSort(bson.D{bsonElem("received", 1)}).SetLimit(maxDeletions).
		SetProjection(bson.D{bsonElem("bytes", 1), bsonElem("received", 1), bsonElem("received_us", 1)}))
	if err != nil {
		return 0, err
	}
	var ids []string
	bytes := int64(0)
	for i := range events {
		if past(&events[i]) {
			ids = append(ids, events[i].ID)
			bytes += events[i].Bytes
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	if err := deleteMany(ctx, s.events, bson.D{bsonElem("_id", bson.D{bsonElem("$in", ids)})}); err != nil {
		return 0, err
	}
	c := newCounterChanges()
	c.addToTotals("deleted", int64(len(ids)))
	c.addToTotals("deleted_raw", bytes)
	return len(ids), s.writeAll(ctx, c.writes(s))
}
