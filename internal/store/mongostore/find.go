package mongostore

import (
	"cmp"
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// SearchEvents implements store.Events. MongoDB leaves out what the query surely does
// not select (filter.go); the rest is decided here, by package store's own
// evaluation.
func (s *Store) SearchEvents(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	page, err := s.find(ctx, q)
	if err != nil {
		return store.EventPage{}, fmt.Errorf("find events: %w", err)
	}
	return page, nil
}

// findPart is how many events are read at most before they are looked at.
const findPart = 500

func (s *Store) find(ctx context.Context, q store.EventQuery) (store.EventPage, error) {
	f := finder{where: q.Where, want: cmp.Or(max(q.Limit, 0), defaultLimit) + 1}
	f.lo, f.hi = bounds(q.Since, q.Until)
	if q.Cursor != "" {
		p, err := parseCursor(cursorEvents, q.Cursor)
		if err != nil {
			return store.EventPage{}, err
		}
		f.at = &p
	}
	for !f.full() {
		if more, err := f.part(ctx, s); err != nil {
			return store.EventPage{}, err
		} else if !more {
			break
		}
	}
	page := store.EventPage{Events: f.events}
	if f.full() {
		page.Events = f.events[:f.want-1]
		page.Next = formatCursor(cursorEvents, f.before)
	}
	return page, nil
}

// A finder is one call of SearchEvents.
type finder struct {
	where  store.Expr
	lo, hi int64 // event times
	want   int   // one more than the page has
	at     *place
	before place // of the last but one event found

	events []picket.Event
	last   place // of the last event found
	coder  coder
	doc    store.EventView
}

func (f *finder) full() bool { return len(f.events) == f.want }

// part reads the next events and adds those that the query selects. It reports
// whether there may be more.
func (f *finder) part(ctx context.Context, s *Store) (bool, error) {
	filter := f.filter()
	if f.at != nil {
		filter = append(filter, after("seq", f.at.a, "_id", f.at.name))
	}
	limit := findPart
	if f.where == nil {
		limit = min(limit, f.want-len(f.events))
	}
	n := 0
	err := op(ctx, scanTimeout, func(ctx context.Context) error {
		cur, err := s.events.Find(ctx, filter, options.Find().SetSort(bson.D{where("seq", -1), where("_id", -1)}).SetLimit(int64(limit)))
		if err != nil {
			return err
		}
		defer cur.Close(ctx)
		for !f.full() && cur.Next(ctx) {
			var d eventDoc
			if err := cur.Decode(&d); err != nil {
				return err
			}
			n++
			f.at = &place{a: d.Seq, name: d.ID}
			if err := f.look(&d); err != nil {
				return err
			}
		}
		return cur.Err()
	})
	return n == limit, err
}

// look adds the event of a document if the query selects it.
func (f *finder) look(d *eventDoc) error {
	ev, err := f.coder.decode(d)
	if err != nil {
		return err
	}
	if at := ev.Time.UnixMicro(); at < f.lo || at >= f.hi {
		return nil
	}
	f.doc.Reset(&ev)
	if f.where != nil && !f.where.Match(&f.doc) {
		return nil
	}
	f.events = append(f.events, ev)
	f.before, f.last = f.last, place{a: d.Seq, name: d.ID}
	return nil
}

// Event implements store.Events.
func (s *Store) Event(ctx context.Context, id string) (picket.Event, error) {
	d, err := one[eventDoc](ctx, s.events, byID(id))
	if err != nil {
		return picket.Event{}, fmt.Errorf("read event %s: %w", id, err)
	}
	var c coder
	return c.decode(&d)
}
