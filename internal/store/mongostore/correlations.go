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

// An observationsDoc holds the observations that one step has applied. Its offset
// is the number of the step, so offsets become visible in ascending order.
type observationsDoc struct {
	Offset int64  `bson:"_id"`
	At     int64  `bson:"at"`
	Data   []byte `bson:"data"` // zstd of []observationBatch as JSON
}

// The correlationsDoc is the one document of collection follower: the lease and
// the checkpoint of correlations.
type correlationsDoc struct {
	ID     string `bson:"_id"`
	Step   int64  `bson:"step"`
	Holder string `bson:"holder"`
	Until  int64  `bson:"until"` // end of the lease, microseconds
	Offset int64  `bson:"mark"`
	State  []byte `bson:"state,omitempty"` // zstd
}

const correlationsID = "follower"

// leaseAvailable reports whether a holder can have the lease.
func (d *correlationsDoc) leaseAvailable(holder string, now int64) bool {
	return d.Holder == holder || d.Until <= now
}

func (s *Store) readCorrelations(ctx context.Context) (*correlationsDoc, error) {
	d, err := findOne[correlationsDoc](ctx, s.correlations, byID(correlationsID))
	if errors.Is(err, picket.ErrNotFound) {
		return &correlationsDoc{ID: correlationsID}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lease and checkpoint: %w", err)
	}
	return &d, nil
}

// AcquireCorrelationLease implements store.Correlations. Each process uses its own
// clock, so the clocks of servers and workers should agree to the second.
func (s *Store) AcquireCorrelationLease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	acquired := false
	d, err := s.readCorrelations(ctx)
	if err == nil && d.leaseAvailable(holder, s.options.Now().UnixMicro()) {
		err = s.runStep(ctx, func(ctx context.Context, t *txn) (bool, error) {
			d, err := s.readCorrelations(ctx)
			if err != nil {
				return false, err
			}
			if acquired = d.leaseAvailable(holder, t.now); acquired {
				d.Holder, d.Until = holder, t.now+ttl.Microseconds()
				t.correlations = d
			}
			return acquired, nil
		})
	}
	if err != nil {
		return false, fmt.Errorf("acquire correlation lease: %w", err)
	}
	return acquired, nil
}

// Observations implements store.Correlations.
func (s *Store) Observations(ctx context.Context, after int64, limit int) ([]store.Observation, int64, error) {
	var page []store.Observation
	bytes := 0
	for len(page) < limit && bytes < store.MaxObservationPageBytes {
		doc, err := findOne[observationsDoc](ctx, s.observations, bson.D{bsonElem("_id", bson.D{bsonElem("$gt", after)})},
			options.FindOne().SetSort(bson.D{bsonElem("_id", 1)}))
		if errors.Is(err, picket.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read observations: %w", err)
		}
		err = decodeObservations(doc.Data, func(o store.Observation) {
			bytes += o.Size()
			page = append(page, o)
		})
		if err != nil {
			return nil, 0, fmt.Errorf("read observations %d: %w", doc.Offset, err)
		}
		after = doc.Offset
	}
	return page, after, nil
}

// CorrelationCheckpoint implements store.Correlations.
func (s *Store) CorrelationCheckpoint(ctx context.Context) (offset int64, state []byte, err error) {
	d, err := s.readCorrelations(ctx)
	if err == nil && d.State != nil && zst.DecompressedSize(d.State) <= store.MaxStateBytes {
		state, err = zst.Decompress(nil, d.State)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read correlation checkpoint: %w", err)
	}
	return d.Offset, state, nil
}

// CommitCorrelations implements store.Correlations. It is one step, which checks
// the lease and writes the checkpoint and the matches.
func (s *Store) CommitCorrelations(ctx context.Context, holder string, c store.CorrelationCommit) (store.SaveResult, error) {
	var saved store.SaveResult
	var opened []string
	err := s.runStep(ctx, func(ctx context.Context, t *txn) (bool, error) {
		d, err := s.readCorrelations(ctx)
		if err != nil {
			return false, err
		}
		if d.Holder != holder {
			return false, fmt.Errorf("%s does not have the lease: %w", holder, picket.ErrConflict)
		}
		d.Offset = c.Offset
		if c.State != nil {
			d.State = zst.CompressForSpeed(nil, c.State)
		}
		t.correlations = d
		if len(c.Matches) == 0 {
			return true, nil
		}
		set := newTxnReads()
		set.minutes[minuteID(store.StartOfMinuteMicros(t.now))] = true
		records := make([]matchRecord, len(c.Matches))
		for i := range c.Matches {
			records[i] = newMatchRecord(&c.Matches[i])
			set.addMatch(&records[i])
		}
		if err := t.readDocs(ctx, set); err != nil {
			return false, err
		}
		saved.Matches, opened, err = t.addMatches(ctx, store.CorrelationSender, records, c.Replay)
		return true, err
	})
	if err == nil && len(opened) > 0 {
		saved.Opened, err = s.alertsByID(ctx, opened)
	}
	if err == nil && !c.DeleteBefore.IsZero() {
		err = deleteMany(ctx, s.observations, bson.D{
			bsonElem("at", bson.D{bsonElem("$lt", c.DeleteBefore.UnixMicro())}), bsonElem("_id", bson.D{bsonElem("$lte", c.Offset)}),
		})
	}
	if err != nil {
		return store.SaveResult{}, fmt.Errorf("commit correlations: %w", err)
	}
	return saved, nil
}
