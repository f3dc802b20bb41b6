package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// bisect calls try with a range of events and, where it fails, with halves of
// it, down to single events, for which it calls failed. An error that is
// temporary ends it.
func bisect(from, to int, try func(from, to int) error, failed func(i int, err error), isTemporary func(error) bool) error {
	err := try(from, to)
	switch {
	case err == nil:
		return nil
	case isTemporary(err):
		return err
	case to == from+1:
		failed(from, err)
		return nil
	}
	middle := from + (to-from)/2
	if err := bisect(from, middle, try, failed, isTemporary); err != nil {
		return err
	}
	return bisect(middle, to, try, failed, isTemporary)
}

// newDeadLetter makes a dead letter of an event of b: a batch of its own, with a new
// ID, because the store ignores batches whose ID it knows.
func newDeadLetter(b *picket.Batch, eventIndex int, cause error) queue.DeadLetter {
	e := b.Events[eventIndex]
	one := picket.Batch{ID: fmt.Sprintf("%s.%d", b.ID, eventIndex), Received: b.Received, Events: []picket.Event{e}}
	return queue.DeadLetter{Reason: queue.Failed, Cause: cause.Error(), AgentID: e.AgentID, EventID: e.ID,
		Events: 1, Time: time.Now(), Payload: one.Encode(nil)}
}

// batchIDWithout is the ID of a batch without the events that failed. If the batch is
// delivered again and other events fail, the ID differs, and the store does not
// ignore it.
func batchIDWithout(id string, failed []int) string {
	if len(failed) == 0 {
		return id
	}
	sum := sha256.Sum256(fmt.Append(nil, failed))
	return id + ".without-" + hex.EncodeToString(sum[:4])
}
