package sqlitequeue

import (
	"context"
	"sync/atomic"
)

// An op is one caller's operation; the writer runs many in one transaction.
type op struct {
	size int // payload bytes, which bound a group
	// do runs in the transaction. A diskError rolls back the whole group. Any
	// other error fails only this op, so do must not return one after writing.
	do    func(*tx) error
	done  chan error // capacity 1; receives the outcome after the commit
	state atomic.Int32

	receive *receive // set if this is a Receive, which may have to wait
	err     error    // what do returned
}

const (
	opWaiting   = iota
	opClaimed   // by the writer; the caller waits for the outcome
	opWithdrawn // by the caller, whose context ended
)

// claim claims o for the writer, unless its caller withdrew it.
func (o *op) claim() bool {
	return o.state.Load() == opClaimed || o.state.CompareAndSwap(opWaiting, opClaimed)
}

// transact runs f in one transaction with other waiting operations and returns
// once that is durable. If ctx ends before the writer claims it, f does not run.
func (q *Queue) transact(ctx context.Context, size int, f func(*tx) error) error {
	return q.submit(ctx, &op{size: size, do: f, done: make(chan error, 1)})
}

func (q *Queue) submit(ctx context.Context, o *op) error {
	select {
	case <-q.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	case q.ops <- o:
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		if o.state.CompareAndSwap(opWaiting, opWithdrawn) {
			return ctx.Err()
		}
		return <-o.done
	case <-q.done:
		// The writer may have run this op just before it stopped.
		select {
		case err := <-o.done:
			return err
		default:
			return errClosed
		}
	}
}
