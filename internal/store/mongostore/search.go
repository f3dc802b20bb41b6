package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// SearchEvents implements store.Events. MongoDB filters out most of the events that
// the query does not select (filter.go); the rest is evaluated here, with package
// store's own Expr.
func (s *Store) SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	page, err := s.searchEvents(ctx, q)
	if err != nil {
		return store.EventPage{}, fmt.Errorf("search events: %w", err)
	}
	return page, nil
}

// searchPageSize is how many events one operation reads.
const searchPageSize = 500

func (s *Store) searchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	f := eventSearch{query: q, limit: cmp.Or(max(q.Limit, 0), defaultLimit), before: math.MaxInt64}
	newest := time.Now().UnixMicro() * sequenceStep
	f.budget = store.NewPageBudget(f.limit)
	f.view.ContextChecker = store.NewContextChecker(ctx)
	f.lo, f.hi = store.TimeRangeMicros(q.Since, q.Until)
	if q.Cursor != "" {
		p, err := store.ParseCursor(store.EventCursor, q.Cursor)
		if err != nil {
			return store.EventPage{}, err
		}
		f.before, newest = p.A, p.A
	}
	f.setSlice(newest, firstSlice)
	for !f.full {
		if more, err := f.readPage(ctx, s); err != nil {
			return store.EventPage{}, err
		} else if !more {
			break
		}
	}
	page := store.EventPage{Events: f.events}
	if f.full {
		page.Next = f.last.String()
	}
	return page, nil
}

// An eventSearch is one call of SearchEvents.
type eventSearch struct {
	query  store.EventQuery
	lo, hi int64 // event times, microseconds
	limit  int
	budget store.PageBudget

	// What is read next: the events whose seq is at least from and less than before.
	from, before int64
	slice        time.Duration // how long that is; 0: all the rest

	events []picket.Event // of the page
	last   store.Cursor   // of the last of them
	full   bool           // another event was found, which does not fit on the page
	coder  eventCoder
	view   store.EventView
}

// A search reads slices of the time in which events were stored, the newest first and each
// sliceGrowth times as long as the one before. So it reads little more than it needs also
// where the server sorts all that a filter selects.
const (
	firstSlice  = time.Second
	sliceGrowth = 30
	longSlice   = 12 * time.Hour // a longer one is all the rest
)

// setSlice sets what is read next: a slice that ends with a seq.
func (f *eventSearch) setSlice(end int64, length time.Duration) {
	if f.from, f.slice = 0, 0; length <= longSlice {
		f.from, f.slice = end-length.Microseconds()*sequenceStep, length
	}
}

// readPage reads the next events, adds those that the query selects, and reports
// whether there may be more.
func (f *eventSearch) readPage(ctx context.Context, s *Store) (bool, error) {
	filter := append(f.filter(), bsonElem("seq", bson.D{bsonElem("$gte", f.from), bsonElem("$lt", f.before)}))
	limit := searchPageSize
	if f.query.Where == nil {
		limit = min(limit, f.limit+1-len(f.events))
	}
	n := 0
	err := withTimeout(ctx, scanTimeout, func(ctx context.Context) error {
		cur, err := s.events.Find(ctx, filter, options.Find().SetSort(bson.D{bsonElem("seq", -1)}).SetLimit(int64(limit)))
		if err != nil {
			return err
		}
		defer closeCursor(ctx, cur)
		for !f.full && cur.Next(ctx) {
			var d eventDoc
			if err := cur.Decode(&d); err != nil {
				return err
			}
			n++
			f.before = d.Seq
			if err := f.addIfSelected(&d); err != nil {
				return err
			}
		}
		return cur.Err()
	})
	if err != nil || n == limit || f.slice == 0 {
		return n == limit, err
	}
	f.before = f.from
	f.setSlice(f.before, f.slice*sliceGrowth)
	return s.hasEventsBefore(ctx, f.before)
}

// hasEventsBefore reports whether there are events whose seq is less than before.
func (s *Store) hasEventsBefore(ctx context.Context, before int64) (bool, error) {
	_, err := findOne[bson.Raw](ctx, s.events, bson.D{bsonElem("seq", bson.D{bsonElem("$lt", before)})}, options.FindOne().SetProjection(byID(1)))
	if errors.Is(err, picket.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// addIfSelected adds the event of a document if the query selects it.
func (f *eventSearch) addIfSelected(d *eventDoc) error {
	ev, err := f.coder.decode(d)
	if err != nil {
		return err
	}
	if at := ev.Time.UnixMicro(); at < f.lo || at >= f.hi {
		return nil
	}
	f.view.Reset(&ev)
	if f.query.Where != nil {
		matches := f.query.Where.Match(&f.view)
		if err := f.view.ContextChecker.Err(); err != nil || !matches {
			return err
		}
	}
	if f.query.OnlyFields != nil {
		ev.Fields = store.AppendSelectedFields(nil, ev.Fields, f.query.OnlyFields)
	}
	if !f.budget.Take(store.EventSize(&ev)) {
		f.full = true
		return nil
	}
	f.events = append(f.events, ev)
	f.last = store.Cursor{List: store.EventCursor, A: d.Seq}
	return nil
}

// maxFieldNameEvents bounds the events that EachFieldNames reads.
const maxFieldNameEvents = 2 * searchPageSize

// EachFieldNames implements store.Events.
func (s *Store) EachFieldNames(ctx context.Context, seen func(names []string) bool) (complete bool, err error) {
	q := store.EventQuery{Limit: searchPageSize}
	for read := 0; read < maxFieldNameEvents; read += searchPageSize {
		page, err := s.SearchEvents(ctx, q)
		if err != nil {
			return false, fmt.Errorf("list fields: %w", err)
		}
		var view store.EventView
		var names []string
		for i := range page.Events {
			view.Reset(&page.Events[i])
			for _, leaf := range view.Leaves() {
				names = append(names, leaf.Path.Name)
			}
			for _, f := range page.Events[i].Fields {
				names = append(names, f.Name)
			}
		}
		slices.Sort(names)
		if q.Cursor = page.Next; !seen(slices.Compact(names)) || q.Cursor == "" {
			return q.Cursor == "", nil
		}
	}
	return false, nil
}

// Event implements store.Events.
func (s *Store) Event(ctx context.Context, ref store.EventSelector) (picket.Event, error) {
	ev, err := s.event(ctx, ref)
	if err != nil {
		return picket.Event{}, fmt.Errorf("read event %s: %w", ref.ID, err)
	}
	return ev, nil
}

func (s *Store) event(ctx context.Context, ref store.EventSelector) (picket.Event, error) {
	key, ok := ref.KeyIfNamespaced()
	if !ok {
		var err error
		if key, err = s.findKey(ctx, ref); err != nil {
			return picket.Event{}, err
		}
	}
	d, err := findOne[eventDoc](ctx, s.events, byID(key))
	if err != nil {
		return picket.Event{}, err
	}
	if described := d.eventWithoutContent(); !ref.RefersTo(&described) {
		return picket.Event{}, picket.ErrNotFound
	}
	var c eventCoder
	return c.decode(&d)
}

// findKey returns the key of the one event that a reference names. The keys of the
// events with an id are neighbours in the index of _id.
func (s *Store) findKey(ctx context.Context, ref store.EventSelector) (string, error) {
	after, before := picket.EventKeyRange(ref.ID)
	filter := bson.D{
		bsonElem("$or", bson.A{byID(ref.ID), bson.D{bsonElem("_id", bson.D{bsonElem("$gt", after), bsonElem("$lt", before)})}}),
		bsonElem("event_id", ref.ID),
	}
	filter = addEqual(filter, "agent_id", ref.AgentID)
	filter = addEqual(filter, "sender", ref.Sender)
	filter = addEqual(filter, "index", ref.Index)
	docs, err := find[eventDoc](ctx, s.events, filter, options.Find().SetSort(bson.D{bsonElem("seq", -1)}).SetLimit(store.MaxListedSameID+1).
		SetProjection(bson.D{bsonElem("raw", 0), bsonElem("recipe", 0), bsonElem("more", 0)}))
	if err != nil {
		return "", err
	}
	named := store.NewSameIDEvents(ref)
	for i := range docs {
		named.Add(docs[i].eventWithoutContent())
	}
	if err := named.CheckExactlyOne(); err != nil {
		return "", err
	}
	return docs[0].ID, nil
}
