package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
)

// An observedDoc is what a step brought for correlations. Its mark is the
// step's number, so marks become visible in their order.
type observedDoc struct {
	Mark int64  `bson:"_id"`
	At   int64  `bson:"at"`
	Data []byte `bson:"data"` // zstd of JSON, by batch
}

// The followerDoc is the one document of follower: who it is, and how far it
// has come.
type followerDoc struct {
	ID     string `bson:"_id"`
	Step   int64  `bson:"step"`
	Holder string `bson:"holder"`
	Until  int64  `bson:"until"` // microseconds
	Mark   int64  `bson:"mark"`
	State  []byte `bson:"state,omitempty"` // zstd
}

const followerID = "follower"

func (s *Store) readFollower(ctx context.Context) (*followerDoc, error) {
	f, err := one[followerDoc](ctx, s.follower, byID(followerID))
	if errors.Is(err, picket.ErrNotFound) {
		return &followerDoc{ID: followerID}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the follower: %w", err)
	}
	return &f, nil
}

// AcquireCorrelationLease implements store.Correlations. The lease is reckoned by this process's
// clock, so those of servers and workers should agree to the second.
func (s *Store) AcquireCorrelationLease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	free := func(f *followerDoc, now int64) bool { return f.Holder == holder || f.Until <= now }
	lead := false
	f, err := s.readFollower(ctx)
	if err == nil && free(f, s.opt.Now().UnixMicro()) {
		err = s.change(ctx, func(ctx context.Context, d *draft) (bool, error) {
			f, err := s.readFollower(ctx)
			if err != nil {
				return false, err
			}
			if lead = free(f, d.now); lead {
				f.Holder, f.Until = holder, d.now+ttl.Microseconds()
				d.follower = f
			}
			return lead, nil
		})
	}
	if err != nil {
		return false, fmt.Errorf("lead: %w", err)
	}
	return lead, nil
}

// Observations implements store.Correlations.
func (s *Store) Observations(ctx context.Context, after int64, limit int) ([]store.Observation, int64, error) {
	var page []store.Observation
	for len(page) < limit {
		doc, err := one[observedDoc](ctx, s.observations, bson.D{where("_id", bson.D{where("$gt", after)})},
			options.FindOne().SetSort(bson.D{where("_id", 1)}))
		if errors.Is(err, picket.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read observations: %w", err)
		}
		seen, err := decodeObserved(doc.Data)
		if err != nil {
			return nil, 0, fmt.Errorf("read observations %d: %w", doc.Mark, err)
		}
		page = append(page, seen...)
		after = doc.Mark
	}
	return page, after, nil
}

// CorrelationCheckpoint implements store.Correlations.
func (s *Store) CorrelationCheckpoint(ctx context.Context) (mark int64, state []byte, err error) {
	f, err := s.readFollower(ctx)
	if err == nil && f.State != nil {
		state, err = zst.Decode(nil, f.State)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read what was concluded: %w", err)
	}
	return f.Mark, state, nil
}

// CommitCorrelations implements store.Correlations. It is one step, which reads who leads
// and writes how far it came and what it found.
func (s *Store) CommitCorrelations(ctx context.Context, holder string, c store.CorrelationCommit) (store.SaveResult, error) {
	var saved store.SaveResult
	var opened []string
	err := s.change(ctx, func(ctx context.Context, d *draft) (bool, error) {
		f, err := s.readFollower(ctx)
		if err != nil {
			return false, err
		}
		if f.Holder != holder {
			return false, fmt.Errorf("%s does not lead: %w", holder, picket.ErrConflict)
		}
		f.Mark = c.Offset
		if c.State != nil {
			f.State = zst.Fast(nil, c.State)
		}
		d.follower = f
		if len(c.Matches) == 0 {
			return true, nil
		}
		need := newNeeds()
		need.minutes[minuteID(minuteOf(d.now))] = true
		all := make([]matched, len(c.Matches))
		for i := range c.Matches {
			all[i] = newMatched(&c.Matches[i])
			need.match(&all[i])
		}
		if err := d.read(ctx, need); err != nil {
			return false, err
		}
		saved.Matches, opened = d.join(all, c.Replay)
		return true, nil
	})
	if err == nil && len(opened) > 0 {
		saved.Opened, err = s.alertsOf(ctx, opened)
	}
	if err == nil && !c.DeleteBefore.IsZero() {
		err = remove(ctx, s.observations, bson.D{
			where("at", bson.D{where("$lt", c.DeleteBefore.UnixMicro())}), where("_id", bson.D{where("$lte", c.Offset)}),
		})
	}
	if err != nil {
		return store.SaveResult{}, fmt.Errorf("conclude: %w", err)
	}
	return saved, nil
}
