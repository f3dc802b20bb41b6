package groupcommit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/picket-edr/picket/internal/groupcommit"
)

type op struct {
	*groupcommit.Op
	n int
}

var errClosed = errors.New("closed")

func newQueue(maxOps, maxBytes int) (q *groupcommit.Queue[op], closed chan struct{}) {
	closed = make(chan struct{})
	return &groupcommit.Queue[op]{MaxOps: maxOps, MaxBytes: maxBytes, C: make(chan op, maxOps), Closed: closed, Ended: closed, ErrClosed: errClosed}, closed
}

// Operations that wait are run in one group, within its limits.
func TestGather(t *testing.T) {
	for _, c := range []struct{ maxOps, maxBytes, want int }{{10, 1000, 7}, {5, 1000, 5}, {10, 25, 3}} {
		synctest.Test(t, func(t *testing.T) {
			q, _ := newQueue(c.maxOps, c.maxBytes)
			outcomes := make(chan error)
			for i := range 7 {
				go func() { outcomes <- q.Do(t.Context(), op{groupcommit.NewOp(10), i}) }()
			}
			synctest.Wait()
			group := q.Gather(nil, <-q.C)
			if len(group) != c.want {
				t.Errorf("%d operations, want %d", len(group), c.want)
			}
			failed := errors.New("failed")
			for i, o := range group {
				if !o.Claim() {
					t.Errorf("operation %d was withdrawn", o.n)
				}
				o.Finish([]error{nil, failed}[min(i, 1)])
			}
			errs := 0
			for range group {
				if err := <-outcomes; errors.Is(err, failed) {
					errs++
				} else if err != nil {
					t.Error(err)
				}
			}
			if errs != len(group)-1 {
				t.Errorf("%d operations failed, want %d", errs, len(group)-1)
			}
			for range 7 - len(group) {
				o := <-q.C
				o.Claim()
				o.Finish(nil)
				<-outcomes
			}
		})
	}
}

// An operation is withdrawn if its context ends or the queue is closed before it
// is claimed. After that, its caller waits.
func TestWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, closed := newQueue(10, 10)
		ctx, cancel := context.WithCancel(t.Context())
		outcomes := make(chan error)
		do := func() op {
			go func() { outcomes <- q.Do(ctx, op{Op: groupcommit.NewOp(1)}) }()
			return <-q.C
		}
		claimed, waiting := do(), do()
		claimed.Claim()
		cancel()
		if err := <-outcomes; !errors.Is(err, context.Canceled) || !waiting.Withdrawn() || waiting.Claim() {
			t.Errorf("error %v, want context.Canceled", err)
		}
		claimed.Finish(nil)
		if err := <-outcomes; err != nil {
			t.Errorf("error %v for an operation that was claimed", err)
		}
		ctx = t.Context()
		waiting = do()
		synctest.Wait()
		close(closed)
		if err := <-outcomes; !errors.Is(err, errClosed) || waiting.Claim() {
			t.Errorf("error %v, want errClosed", err)
		}
		if err := q.Do(ctx, op{Op: groupcommit.NewOp(1)}); !errors.Is(err, errClosed) {
			t.Errorf("error %v, want errClosed", err)
		}
	})
}
