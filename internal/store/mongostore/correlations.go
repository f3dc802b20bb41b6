package mongostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
)

// An observationsDoc holds observations of one batch. Its offset is 0 until a reader
// numbers it: transactions become visible in another order than they begin in, and a
// reader that goes on after an offset must have seen everything before it.
type observationsDoc struct {
	Offset int64  `bson:"offset"`
	Seq    int64  `bson:"seq"`  // the order in which they are numbered
	At     int64  `bson:"at"`   // when the batch was saved, microseconds
	Data   []byte `bson:"data"` // zstd of []store.Observation as JSON
}

// The correlationsDoc is the one document of collection follower: the lease and
// the checkpoint of correlations.
type correlationsDoc struct {
	ID     string `bson:"_id"`
	Holder string `bson:"holder"`
	Until  int64  `bson:"until"` // end of the lease, microseconds
	Offset int64  `bson:"mark"`
	State  []byte `bson:"state,omitempty"` // zstd
	// Numbered is the offset that was given to an observationsDoc last.
	Numbered int64 `bson:"numbered"`
}

const correlationsID = "follower"

func (s *Store) readCorrelations(ctx context.Context) (correlationsDoc, error) {
	d, err := findOne[correlationsDoc](ctx, s.correlations, byID(correlationsID))
	if err != nil && !errors.Is(err, picket.ErrNotFound) {
		return d, fmt.Errorf("read lease and checkpoint: %w", err)
	}
	return d, nil
}

// AcquireCorrelationLease implements store.Correlations. Each process uses its own
// clock, so the clocks of servers and workers should agree to the second.
func (s *Store) AcquireCorrelationLease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	now := s.options.Now()
	available := bson.D{bsonElem("_id", correlationsID), bsonElem("$or", bson.A{
		bson.D{bsonElem("holder", holder)}, bson.D{bsonElem("until", bson.D{bsonElem("$lte", now.UnixMicro())})}, bson.D{bsonElem("until", nil)},
	})}
	lease := bson.D{bsonElem("$set", bson.D{bsonElem("holder", holder), bsonElem("until", now.Add(ttl).UnixMicro())})}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.correlations.UpdateOne(ctx, available, lease, options.UpdateOne().SetUpsert(true))
		return err
	})
	if mongo.IsDuplicateKeyError(err) {
		return false, nil // another holder has it
	}
	if err != nil {
		return false, fmt.Errorf("acquire correlation lease: %w", err)
	}
	return true, nil
}

// maxNumberedDocs is how many documents of observations one transaction numbers.
const maxNumberedDocs = 500

// numberObservations gives offsets to the observations that have none. Those that are
// numbered later have greater ones.
func (s *Store) numberObservations(ctx context.Context) error {
	unnumbered := func(ctx context.Context, limit int64) ([]bson.Raw, error) {
		return find[bson.Raw](ctx, s.observations, bson.D{bsonElem("offset", 0)},
			options.Find().SetSort(bson.D{bsonElem("seq", 1)}).SetLimit(limit).SetProjection(byID(1)))
	}
	for {
		docs, err := unnumbered(ctx, 1)
		if err != nil || len(docs) == 0 {
			return err
		}
		err = s.transact(ctx, func(ctx context.Context) error {
			docs, err := unnumbered(ctx, maxNumberedDocs)
			if err != nil || len(docs) == 0 {
				return err
			}
			d, err := s.readCorrelations(ctx)
			if err != nil {
				return err
			}
			numbered := d.Numbered + int64(len(docs))
			writes := []write{updateOf(s.correlations, correlationsID, bson.D{bsonElem("$set", bson.D{bsonElem("numbered", numbered)})})}
			for i, doc := range docs {
				offset := bson.D{bsonElem("$set", bson.D{bsonElem("offset", d.Numbered+int64(i)+1)})}
				writes = append(writes, updateOf(s.observations, doc.Lookup("_id"), offset))
			}
			return s.writeAll(ctx, writes)
		})
		if err != nil {
			return err
		}
	}
}

// Observations implements store.Correlations.
func (s *Store) Observations(ctx context.Context, after int64, limit int) ([]store.Observation, int64, error) {
	if err := s.numberObservations(ctx); err != nil {
		return nil, 0, fmt.Errorf("number observations: %w", err)
	}
	var page []store.Observation
	bytes, failed := 0, error(nil)
	err := findUntil(ctx, s.observations, bson.D{bsonElem("offset", bson.D{bsonElem("$gt", max(after, 0))})}, func(doc *observationsDoc) bool {
		if len(page) >= limit || bytes >= store.MaxObservationPageBytes {
			return false
		}
		failed = doc.decode(func(o store.Observation) {
			bytes += o.Size()
			page = append(page, o)
		})
		after = doc.Offset
		return failed == nil
	}, options.Find().SetSort(bson.D{bsonElem("offset", 1)}).SetBatchSize(16))
	if err = errors.Join(err, failed); err != nil {
		return nil, 0, fmt.Errorf("read observations: %w", err)
	}
	return page, after, nil
}

// decode calls add with each observation. It decodes one at a time: see
// store.DecodeObservations.
func (d *observationsDoc) decode(add func(store.Observation)) error {
	r, err := zst.NewReader(d.Data)
	if err != nil {
		return err
	}
	defer r.Close()
	return store.DecodeObservations(json.NewDecoder(r), func(o store.Observation) {
		o.Arrived = fromMicros(d.At)
		add(o)
	})
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

// CommitCorrelations implements store.Correlations. One transaction checks the lease and
// writes the checkpoint and the matches.
func (s *Store) CommitCorrelations(ctx context.Context, holder string, c store.CorrelationCommit) (store.SaveResult, error) {
	checkpoint := bson.D{bsonElem("mark", c.Offset)}
	if c.State != nil {
		checkpoint = append(checkpoint, bsonElem("state", zst.CompressForSpeed(nil, c.State)))
	}
	var saved store.SaveResult
	var quota *store.QuotaUse
	err := s.transact(ctx, func(ctx context.Context) error {
		r, err := s.correlations.UpdateOne(ctx, bson.D{bsonElem("_id", correlationsID), bsonElem("holder", holder)}, bson.D{bsonElem("$set", checkpoint)})
		if err != nil {
			return err
		}
		if r.MatchedCount == 0 {
			return fmt.Errorf("%s does not have the lease: %w", holder, picket.ErrConflict)
		}
		if len(c.Matches) == 0 {
			return nil
		}
		t := newTxn(s)
		matches := map[string][]picket.Match{store.CorrelationSender: c.Matches}
		if err := t.readOpenAlerts(ctx, matches); err != nil {
			return err
		}
		if err := t.readKnownMatches(ctx, matches); err != nil {
			return err
		}
		s.quotaLock.Lock()
		quota = t.quota
		n, opened := t.addMatches(store.CorrelationSender, c.Matches, c.Replay)
		saved = store.SaveResult{Matches: n, Opened: alertsOf(opened)}
		s.quotaLock.Unlock()
		return s.writeAll(ctx, t.writes())
	})
	if err == nil && quota != nil {
		s.commitQuota(quota)
	}
	if err == nil && !c.DeleteBefore.IsZero() {
		err = s.numberObservations(ctx)
	}
	if err == nil && !c.DeleteBefore.IsZero() {
		err = deleteMany(ctx, s.observations, bson.D{
			bsonElem("offset", bson.D{bsonElem("$gt", 0), bsonElem("$lte", c.Offset)}), bsonElem("at", bson.D{bsonElem("$lt", c.DeleteBefore.UnixMicro())}),
		})
	}
	if err != nil {
		return store.SaveResult{}, fmt.Errorf("commit correlations: %w", err)
	}
	return saved, nil
}

// commitQuota counts what a transaction has added.
func (s *Store) commitQuota(q *store.QuotaUse) {
	s.quotaLock.Lock()
	defer s.quotaLock.Unlock()
	q.Commit()
}
