package sqlitequeue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"modernc.org/sqlite"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// SQLite's primary result codes that are told apart here.
const (
	codeBusy    = 5
	codeIOErr   = 10
	codeCorrupt = 11
	codeFull    = 13
	codeNotADB  = 26
)

// An op is one caller's part of a transaction.
type op struct {
	size int // payload bytes, which bound a group
	// do runs in the transaction. It refuses before it writes: an error of
	// the database undoes the whole group, any other fails this op alone.
	do    func(*tx) error
	done  chan error // of one; the outcome after the commit
	state atomic.Int32

	receive *receive // of a Receive, which waits until there is something
	err     error    // what do returned
}

const (
	opWaiting   = iota
	opClaimed   // the writer has it: the caller waits for the outcome
	opWithdrawn // the caller is gone
)

// claim claims o for the writer, unless its caller has gone.
func (o *op) claim() bool {
	return o.state.Load() == opClaimed || o.state.CompareAndSwap(opWaiting, opClaimed)
}

// transact runs f in a transaction with whatever else is waiting, and returns when
// it is durable. When ctx ends before the writer got to it, f does not run.
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
		// The writer's last act may have been this op.
		select {
		case err := <-o.done:
			return err
		default:
			return errClosed
		}
	}
}

// A diskError undid a group.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

// dbError gives an error of the database its kind.
func dbError(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", doing, err)
	switch code(err) {
	case codeFull:
		err = fmt.Errorf("%w: %w", err, queue.ErrFull)
	case codeBusy:
		err = fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
	}
	return &diskError{err}
}

func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// fatal reports whether after err the file cannot be trusted to keep what is
// written: a sync that failed once must not be tried again, for the second
// would succeed without the data.
func fatal(err error) bool {
	switch code(err) {
	case codeIOErr, codeCorrupt, codeNotADB:
		return true
	}
	return false
}
