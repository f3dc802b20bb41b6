package mongostore

import (
	"context"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

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
	filter, ok := exactFilter(q)
	for _, field := range fields {
		ok = ok && countedPaths[field] != nil
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
// if there is one.
func exactFilter(q store.EventQuery) (filter bson.D, ok bool) {
	lo, hi := store.TimeRangeMicros(q.Since, q.Until)
	var span bson.D
	if lo > math.MinInt64 {
		span = append(span, bsonElem("$gte", bson.DateTime(millisOfMicros(lo))))
	}
	if hi < math.MaxInt64 {
		span = append(span, bsonElem("$lt", bson.DateTime(millisOfMicros(hi))))
	}
	if lo > math.MinInt64 && lo%1000 != 0 || hi < math.MaxInt64 && hi%1000 != 0 {
		return nil, false
	}
	filter = bson.D{}
	if span != nil {
		filter = append(filter, bsonElem("timestamp", span))
	}
	switch x := q.Where.(type) {
	case nil:
		return filter, true
	case *store.PatternTerm:
		name, ok := nameToFilter(x)
		return append(filter, name), ok && len(x.Pattern.String()) < maxNameBytes/4 // folding makes no character four times as long
	}
	return nil, false
}
