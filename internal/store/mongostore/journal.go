package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/zst"
)

// A stepDoc is a step in the journal.
type stepDoc struct {
	ID   string `bson:"_id"` // its number, so that texts are in the same order
	N    int64  `bson:"step"`
	At   int64  `bson:"at"` // microseconds
	Done bool   `bson:"done,omitempty"`
	Redo []byte `bson:"redo,omitempty"` // zstd of a redo as BSON, until it is done
}

const (
	// helpAfter is how long a step of another process may take before this
	// one carries it out, too.
	helpAfter = time.Second
	// Steps that are done are kept that long, and that many of them, so that
	// a process that was held up can't insert one of their numbers again.
	stepMemory = 15 * time.Minute
	stepsKept  = 64
)

// change makes a step. build drafts it, on what all steps before it left, and
// reports whether there is anything to do; it is called again where another
// process was quicker.
func (s *Store) change(ctx context.Context, build func(ctx context.Context, d *draft) (bool, error)) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		last, err := s.caughtUp(ctx)
		if err != nil {
			return err
		}
		d := newDraft(s, last+1)
		if ok, err := build(ctx, d); err != nil || !ok {
			return err
		}
		r, err := d.redo()
		if err != nil {
			return err
		}
		err = s.write(ctx, r)
		if errors.Is(err, picket.ErrConflict) {
			continue
		}
		return err
	}
}

// write enters a step into the journal and carries it out. From the moment it
// is entered it will be carried out, by whomever.
func (s *Store) write(ctx context.Context, r *redo) error {
	plain, err := bson.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode step %d: %w", r.Step, err)
	}
	if err := s.opt.fault("step"); err != nil {
		return err
	}
	err = insert(ctx, s.journal, stepDoc{ID: stepID(r.Step), N: r.Step, At: time.Now().UnixMicro(), Redo: zst.Fast(nil, plain)})
	if err != nil {
		return fmt.Errorf("enter step %d: %w", r.Step, err)
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTimeout)
	defer cancel()
	return s.carryOut(work, r)
}

func stepID(n int64) string { return fmt.Sprintf("%019d", n) }

// saw notes a step that is done.
func (s *Store) saw(n int64) {
	s.last.Store(max(s.last.Load(), n))
	s.lastAt.Store(time.Now().UnixMicro())
}

// lastStep returns the last step in the journal.
func (s *Store) lastStep(ctx context.Context) (stepDoc, error) {
	known := s.last.Load()
	// Steps after one that was seen long ago may have been forgotten.
	fresh := time.Since(time.UnixMicro(s.lastAt.Load())) < stepMemory/3
	if !s.ferret || !fresh {
		return one[stepDoc](ctx, s.journal, bson.D{where("_id", bson.D{where("$gte", stepID(known))})},
			options.FindOne().SetSort(byID(-1)))
	}
	// FerretDB would read the whole journal for that.
	last := stepDoc{N: known, Done: true}
	for {
		next, err := one[stepDoc](ctx, s.journal, byID(stepID(last.N+1)))
		if errors.Is(err, picket.ErrNotFound) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = next
	}
}

// caughtUp waits until the last step is done, helps where that takes long, and
// returns its number, 0 where there is none.
func (s *Store) caughtUp(ctx context.Context) (int64, error) {
	var watched int64
	var since time.Time
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		last, err := s.lastStep(ctx)
		if errors.Is(err, picket.ErrNotFound) {
			return s.last.Load(), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the last step: %w", err)
		}
		if last.Done {
			s.saw(last.N)
			return last.N, nil
		}
		if last.N != watched {
			watched, since = last.N, time.Now()
		}
		if time.Since(since) > helpAfter {
			s.log.Warn("finishing a step that another process left", "step", last.N)
			if err := s.help(ctx, &last); err != nil {
				return 0, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.quit.Done():
			return 0, errClosed
		case <-time.After(pause):
		}
	}
}

// help carries out a step that is in the journal.
func (s *Store) help(ctx context.Context, d *stepDoc) error {
	plain, err := zst.Decode(nil, d.Redo)
	if err != nil {
		return fmt.Errorf("read step %d: %w", d.N, err)
	}
	r := new(redo)
	if err := bson.Unmarshal(plain, r); err != nil {
		return fmt.Errorf("read step %d: %w", d.N, err)
	}
	return s.carryOut(ctx, r)
}

// carryOut does what a step says, marks it done, and now and then forgets old
// ones.
func (s *Store) carryOut(ctx context.Context, r *redo) error {
	if err := s.apply(ctx, r); err != nil {
		return fmt.Errorf("carry out step %d: %w", r.Step, err)
	}
	if err := s.opt.fault("done"); err != nil {
		return err
	}
	err := op(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.journal.UpdateOne(ctx, byID(stepID(r.Step)), bson.D{
			where("$set", bson.D{where("done", true)}), where("$unset", bson.D{where("redo", "")}),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("mark step %d done: %w", r.Step, err)
	}
	s.saw(r.Step)
	if r.Step%stepsKept != 0 {
		return nil
	}
	err = remove(ctx, s.journal, bson.D{
		where("step", bson.D{where("$lte", r.Step-stepsKept)}), where("at", bson.D{where("$lt", time.Now().Add(-stepMemory).UnixMicro())}),
	})
	if err != nil {
		return fmt.Errorf("forget old steps: %w", err)
	}
	return nil
}
