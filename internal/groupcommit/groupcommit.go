// Package groupcommit lets many callers share one commit: a writer gathers the
// operations that are waiting, runs them together and reports the outcomes.
package groupcommit

import (
	"context"
	"runtime"
	"sync/atomic"
)

// An Op is the part of an operation that this package handles. Operations embed
// it.
type Op struct {
	size  int
	done  chan error
	state atomic.Int32
}

const (
	waiting   = iota
	claimed   // by the writer; the caller waits for the outcome
	withdrawn // by the caller, whose context ended
)

// NewOp returns an Op of so many bytes.
func NewOp(bytes int) *Op { return &Op{size: bytes, done: make(chan error, 1)} }

// Claim claims the operation for the writer. It returns false if the caller
// withdrew it.
func (o *Op) Claim() (ok bool) {
	return o.state.Load() == claimed || o.state.CompareAndSwap(waiting, claimed)
}

// Withdrawn reports whether the caller withdrew the operation.
func (o *Op) Withdrawn() bool { return o.state.Load() == withdrawn }

// Finish reports the outcome to the caller. The writer calls it once.
func (o *Op) Finish(err error) { o.done <- err }

// WaitOutcome waits for the outcome.
func (o *Op) WaitOutcome() error { return <-o.done }

func (o *Op) withdraw() (ok bool) { return o.state.CompareAndSwap(waiting, withdrawn) }

func (o *Op) base() *Op { return o }

// An Operation embeds an *Op.
type Operation interface{ base() *Op }

// A Queue holds the operations that are waiting for the writer.
type Queue[T Operation] struct {
	// MaxOps and MaxBytes bound a group. They keep commits short, because later
	// operations wait for the current one.
	MaxOps, MaxBytes int
	C                chan T // the writer receives the first operation of a group from C
	// Closed is closed when no more operations are accepted, and Ended when the
	// writer may run no more. ErrClosed is the outcome from then on.
	Closed, Ended <-chan struct{}
	ErrClosed     error
}

// Do waits for the outcome of o. If ctx ends before the writer claims it, o is
// withdrawn.
func (q *Queue[T]) Do(ctx context.Context, o T) error {
	select {
	case <-q.Closed:
		return q.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case q.C <- o:
	}
	op := o.base()
	select {
	case err := <-op.done:
		return err
	case <-ctx.Done():
		if op.withdraw() {
			return ctx.Err()
		}
	case <-q.Ended:
		if op.withdraw() {
			return q.ErrClosed
		}
	}
	return op.WaitOutcome()
}

// Gather appends first and the other operations that are waiting to group. It
// yields, so that callers woken by the last commit can submit their next
// operation.
func (q *Queue[T]) Gather(group []T, first T) []T {
	group = append(group, first)
	size := first.base().size
	for range 2 {
		runtime.Gosched()
		for size < q.MaxBytes && len(group) < q.MaxOps {
			select {
			case o := <-q.C:
				group = append(group, o)
				size += o.base().size
				continue
			default:
			}
			break
		}
	}
	return group
}
