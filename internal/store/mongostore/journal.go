package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/zst"
)

// A stepDoc is a step in the journal.
type stepDoc struct {
	ID   string `bson:"_id"` // the number with leading zeros, so that texts sort as numbers
	N    int64  `bson:"step"`
	At   int64  `bson:"at"` // microseconds
	Done bool   `bson:"done,omitempty"`
	Redo []byte `bson:"redo,omitempty"` // zstd of a redoRecord as BSON, until the step is done
}

const (
	defaultTakeoverDelay = time.Second
	// Steps that are done are kept for stepRetention, and at least minStepsKept of
	// them, so that a process that was suspended cannot insert one of their numbers
	// again.
	stepRetention = 15 * time.Minute
	minStepsKept  = 64
)

// runStep runs one step. build computes it in t from the state that all earlier
// steps left, and reports whether there is anything to do. If another process
// inserts a step first, build is called again.
func (s *Store) runStep(ctx context.Context, build func(ctx context.Context, t *txn) (bool, error)) error {
	select {
	case s.stepLock <- struct{}{}:
		defer func() { <-s.stepLock }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		last, err := s.waitForLastStep(ctx)
		if err != nil {
			return err
		}
		t := newTxn(s, last+1)
		if ok, err := build(ctx, t); err != nil || !ok {
			return err
		}
		r, err := t.redoRecord()
		if err != nil {
			return err
		}
		err = s.commitStep(ctx, r)
		if errors.Is(err, picket.ErrConflict) {
			continue
		}
		t.quota.Commit()
		return err
	}
}

// commitStep writes a step to the journal and applies it. Once it is in the
// journal, it will be applied, by this process or another.
func (s *Store) commitStep(ctx context.Context, r *redoRecord) error {
	plain, err := bson.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode step %d: %w", r.Step, err)
	}
	if err := s.options.fault("step"); err != nil {
		return err
	}
	err = insert(ctx, s.journal, stepDoc{ID: stepID(r.Step), N: r.Step, At: time.Now().UnixMicro(), Redo: zst.CompressForSpeed(nil, plain)})
	if err != nil {
		return fmt.Errorf("journal step %d: %w", r.Step, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	return s.applyStep(ctx, r)
}

func stepID(n int64) string { return fmt.Sprintf("%019d", n) }

// recordStepDone remembers that a step is done.
func (s *Store) recordStepDone(n int64) {
	s.lastStep.Store(max(s.lastStep.Load(), n))
	s.lastStepSeen.Store(time.Now().UnixMicro())
}

// readLastStep returns the last step in the journal, or picket.ErrNotFound.
func (s *Store) readLastStep(ctx context.Context) (stepDoc, error) {
	known := s.lastStep.Load()
	recent := time.Since(time.UnixMicro(s.lastStepSeen.Load())) < stepRetention/3
	if !s.isFerretDB || !recent {
		return findOne[stepDoc](ctx, s.journal, bson.D{bsonElem("_id", bson.D{bsonElem("$gte", stepID(known))})},
			options.FindOne().SetSort(byID(-1)))
	}
	// FerretDB would read the whole journal for that query. As the known step is
	// recent, no step after it can have been deleted yet.
	last := stepDoc{N: known, Done: true}
	for {
		next, err := findOne[stepDoc](ctx, s.journal, byID(stepID(last.N+1)))
		if errors.Is(err, picket.ErrNotFound) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = next
	}
}

// waitForLastStep waits until the last step is done and returns its number, 0 if
// there is none. It applies the step itself if that takes too long.
func (s *Store) waitForLastStep(ctx context.Context) (int64, error) {
	var waitingFor int64
	var since time.Time
	polling := backoff.Policy{First: 2 * time.Millisecond, Max: 50 * time.Millisecond}
	for polls := 1; ; polls++ {
		last, err := s.readLastStep(ctx)
		if errors.Is(err, picket.ErrNotFound) {
			return s.lastStep.Load(), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the last step: %w", err)
		}
		if last.Done {
			s.recordStepDone(last.N)
			return last.N, nil
		}
		if last.N != waitingFor {
			waitingFor, since = last.N, time.Now()
		}
		if time.Since(since) > s.options.takeoverDelay {
			s.log.Warn("finishing journal step abandoned by another process", "step", last.N)
			if err := s.applyJournaled(ctx, &last); err != nil {
				return 0, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.quit.Done():
			return 0, errClosed
		case <-time.After(polling.Delay(polls)):
		}
	}
}

// applyJournaled applies a step that was read from the journal.
func (s *Store) applyJournaled(ctx context.Context, d *stepDoc) error {
	plain, err := zst.Decompress(nil, d.Redo)
	if err != nil {
		return fmt.Errorf("read step %d: %w", d.N, err)
	}
	r := new(redoRecord)
	if err := bson.Unmarshal(plain, r); err != nil {
		return fmt.Errorf("read step %d: %w", d.N, err)
	}
	return s.applyStep(ctx, r)
}

// applyStep applies a step and marks it done. Every minStepsKept steps it deletes
// old ones.
func (s *Store) applyStep(ctx context.Context, r *redoRecord) error {
	if err := s.applyRedo(ctx, r); err != nil {
		return fmt.Errorf("apply step %d: %w", r.Step, err)
	}
	if err := s.options.fault("done"); err != nil {
		return err
	}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.journal.UpdateOne(ctx, byID(stepID(r.Step)), bson.D{
			bsonElem("$set", bson.D{bsonElem("done", true)}), bsonElem("$unset", bson.D{bsonElem("redo", "")}),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("mark step %d done: %w", r.Step, err)
	}
	s.recordStepDone(r.Step)
	if r.Step%minStepsKept != 0 {
		return nil
	}
	err = deleteMany(ctx, s.journal, bson.D{
		bsonElem("step", bson.D{bsonElem("$lte", r.Step-minStepsKept)}), bsonElem("at", bson.D{bsonElem("$lt", time.Now().Add(-stepRetention).UnixMicro())}),
	})
	if err != nil {
		return fmt.Errorf("delete old steps: %w", err)
	}
	return nil
}
