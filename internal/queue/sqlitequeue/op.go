package sqlitequeue

import (
	"context"

	"github.com/picket-edr/picket/internal/groupcommit"
)

// An op is one caller's operation; the writer runs many in one transaction.
type op struct {
	*groupcommit.Op
	// do runs in the transaction. A dbError rolls back the whole group. Any
	// other error fails only this op, so do must not return one after writing.
	do      func(*tx) error
	receive *pendingReceive // set if this is a Receive, which may have to wait
	err     error           // what do returned
}

// transact runs f in one transaction with other waiting operations and returns
// once that is durable. If ctx ends before the writer claims it, f does not run.
func (q *Queue) transact(ctx context.Context, payloadBytes int, f func(*tx) error) error {
	return q.ops.Do(ctx, &op{Op: groupcommit.NewOp(payloadBytes), do: f})
}
