package mongostore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// countedPaths are the paths of the fields that the server can count by.
var countedPaths = map[string]any{
	"host":               "$host.hostname",
	"agent_id":           "$agent_id",
	store.EventTypeField: bson.D{bsonElem("$ifNull", bson.A{"$category", "$event_type"})},
}

// CountEvents implements store.Events. The server counts by host, agent and event type, of
// all events or those of hosts and agents that are named in full. For other fields and
// queries, all selected events are read.
func (s *Store) CountEvents(ctx context.Context, q store.EventQuery, fields []string) (*store.EventCounts, error) {
	filter, named, ok := exactFilter(q)
	for _, field := range fields {
		ok = ok && countedPaths[field] != nil
	}
	if ok && len(named) > 0 { // not if an event itself has another host or agent, which the query sees too
		own := append(slices.Clip(filter), bsonElem("own", bson.D{bsonElem("$in", named)}))
		_, err := findOne[bson.Raw](ctx, s.events, own, options.FindOne().SetProjection(byID(1)))
		if err != nil && !errors.Is(err, picket.ErrNotFound) {
			return nil, fmt.Errorf("count events: %w", err)
		}
		ok = err != nil
	}
	if !ok {
		return store.CountEachEvent(ctx, s, q, fields)
	}
	counts, err := s.countByAggregation(ctx, filter, fields)
	if err != nil {
		return nil, fmt.Errorf("count events: %w", err)
	}
	return counts, nil
}

func (s *Store) countByAggregation(ctx context.Context, filter bson.D, fields []string) (*store.EventCounts, error) {
	var by bson.A
	for _, field := range fields {
		by = append(by, countedPaths[field])
	}
	pipeline := bson.A{
		bson.D{bsonElem("$match", filter)},
		bson.D{bsonElem("$group", bson.D{bsonElem("_id", by), bsonElem("n", bson.D{bsonElem("$sum", 1)})})},
	}
	counts := store.NewEventCounts(fields)
	err := withTimeout(ctx, scanTimeout, func(ctx context.Context) error {
		cur, err := s.events.Aggregate(ctx, pipeline, options.Aggregate().SetAllowDiskUse(true))
		if err != nil {
			return err
		}
		defer closeCursor(ctx, cur)
		values := make([]store.FieldValue, len(fields))
		for cur.Next(ctx) {
			var group struct {
				Values []string `bson:"_id"`
				N      int64    `bson:"n"`
			}
			if err := cur.Decode(&group); err != nil {
				return err
			}
			for i := range values {
				values[i] = store.NewFieldValue(group.Values[i : i+1])
			}
			counts.Add(values, group.N)
		}
		return cur.Err()
	})
	return counts, err
}

// exactFilter returns a filter that selects the events that a query selects and no others,
// if there is one, except for events that themselves have other values of the fields in
// named.
func exactFilter(q store.EventQuery) (filter bson.D, named []string, ok bool) {
	lo, hi := store.TimeRangeMicros(q.Since, q.Until)
	var span bson.D
	if lo > math.MinInt64 {
		span = append(span, bsonElem("$gte", bson.DateTime(millisOfMicros(lo))))
	}
	if hi < math.MaxInt64 {
		span = append(span, bsonElem("$lt", bson.DateTime(millisOfMicros(hi))))
	}
	if lo > math.MinInt64 && lo%1000 != 0 || hi < math.MaxInt64 && hi%1000 != 0 {
		return nil, nil, false
	}
	filter = bson.D{}
	if span != nil {
		filter = append(filter, bsonElem("timestamp", span))
	}
	var terms []store.Expr
	switch x := q.Where.(type) {
	case nil:
		return filter, nil, true
	case store.And:
		terms = x
	default:
		terms = []store.Expr{x}
	}
	var conditions bson.A
	for _, x := range terms {
		t, isPattern := x.(*store.PatternTerm)
		if !isPattern {
			return nil, nil, false
		}
		condition, ok := nameToFilter(t)
		if !ok {
			return nil, nil, false
		}
		conditions = append(conditions, condition)
		named = append(named, t.Field)
	}
	return append(filter, bsonElem("$and", conditions)), named, true
}
