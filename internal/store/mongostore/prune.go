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
	batchMemory  = 7 * 24 * time.Hour // for how long the ids of saved batches are kept
	rollupMemory = 400 * 24 * time.Hour
	pruneEvents  = 2000 // deleted in one step, so that what is saved gets its turn
)

// Prune implements store.Events. By size, events count as received: what the
// server's compression saves is beyond what it tells.
func (s *Store) Prune(ctx context.Context, r store.Retention) (int64, error) {
	gone, err := s.prune(ctx, r)
	if err != nil {
		return gone, fmt.Errorf("prune: %w", err)
	}
	return gone, nil
}

func (s *Store) prune(ctx context.Context, r store.Retention) (int64, error) {
	gone := int64(0)
	if r.MaxAge > 0 {
		_, before := bounds(time.Time{}, r.Now.Add(-r.MaxAge))
		n, err := s.pruneAge(ctx, before)
		gone += n
		if err != nil {
			return gone, err
		}
	}
	if r.MaxBytes > 0 {
		n, err := s.pruneBytes(ctx, r.MaxBytes)
		gone += n
		if err != nil {
			return gone, err
		}
	}
	if err := remove(ctx, s.minutes, bson.D{where("start", bson.D{where("$lt", r.Now.Add(-rollupMemory).UnixMicro())})}); err != nil {
		return gone, err
	}
	err := remove(ctx, s.batches, bson.D{
		where("at", bson.D{where("$lt", r.Now.Add(-batchMemory).UnixMicro())}), where("pending", bson.D{where("$ne", true)}),
	})
	return gone, err
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

// oldest reads events in the order of a field.
func (s *Store) oldest(ctx context.Context, filter bson.D, by string) ([]oldEvent, error) {
	var out []oldEvent
	err := op(ctx, scanTimeout, func(ctx context.Context) error {
		cur, err := s.events.Find(ctx, filter, options.Find().SetSort(bson.D{where(by, 1)}).SetLimit(pruneEvents).
			SetProjection(bson.D{where("seq", 1), where("raw", 1), where("received", 1), where("received_us", 1)}))
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
			ev.Raw = bson.RawValue{} // one page of large events would be much
			out = append(out, ev)
		}
		return cur.Err()
	})
	return out, err
}

// pruneAge deletes the events received before a time.
func (s *Store) pruneAge(ctx context.Context, before int64) (int64, error) {
	gone := int64(0)
	for {
		n := 0
		err := s.change(ctx, func(ctx context.Context, d *draft) (bool, error) {
			// Up to the millisecond's end, and then to the microsecond.
			old, err := s.oldest(ctx, bson.D{where("received", bson.D{where("$lte", bson.DateTime(millis(before)))})}, "received")
			if err != nil {
				return false, err
			}
			kept := old[:0]
			for _, ev := range old {
				if fromDate(ev.Received, ev.RecvUS).UnixMicro() < before {
					kept = append(kept, ev)
				}
			}
			n, err = d.drop(ctx, kept, -1)
			return n > 0, err
		})
		gone += int64(n)
		if err != nil || n == 0 {
			return gone, err
		}
	}
}

// pruneBytes deletes the events stored first until the rest has at most limit
// bytes.
func (s *Store) pruneBytes(ctx context.Context, limit int64) (int64, error) {
	if err := s.settled(ctx); err != nil {
		return 0, err
	}
	gone := int64(0)
	for {
		n := 0
		err := s.change(ctx, func(ctx context.Context, d *draft) (bool, error) {
			n = 0
			t, err := s.readTotals(ctx)
			if err != nil || t.Raw-t.GoneRaw <= limit {
				return false, err
			}
			old, err := s.oldest(ctx, bson.D{}, "seq")
			if err != nil {
				return false, err
			}
			n, err = d.drop(ctx, old, t.Raw-t.GoneRaw-limit)
			return n > 0, err
		})
		if err != nil {
			return gone, err
		}
		if gone += int64(n); n == 0 {
			return gone, nil
		}
	}
}

// drop drafts the deletion of events, of as many as have some bytes or, below
// zero, of all.
func (d *draft) drop(ctx context.Context, old []oldEvent, bytes int64) (int, error) {
	if len(old) == 0 {
		return 0, nil
	}
	var err error
	if d.totals, err = d.s.readTotals(ctx); err != nil {
		return 0, err
	}
	for _, ev := range old {
		d.gone = append(d.gone, ev.ID)
		d.goneSeq = max(d.goneSeq, ev.Seq)
		d.totals.Gone++
		d.totals.GoneRaw += ev.bytes
		if bytes < 0 {
			continue
		}
		if bytes -= ev.bytes; bytes <= 0 {
			break
		}
	}
	return len(d.gone), nil
}
