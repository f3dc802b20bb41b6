package queue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// A Movable is a queue whose content can be moved to another one, while both are in
// use. Whatever is moved is added to one queue, durably, and then removed from the
// other. If the process dies in between, it is added again; the queue recognizes what
// it was given last. Moved events are counted in the queue that they are in.
type Movable interface {
	Queue
	Inspector

	// EnqueueAll enqueues requests of one agent, in order and in one step: all or
	// none. Messages whose IDs it knows from recent requests are left out.
	EnqueueAll(ctx context.Context, rs ...EnqueueRequest) error
	// AddDeadLetters adds dead letters of another queue, in one step for each agent,
	// and counts their events. Letters that were added before are left out.
	AddDeadLetters(ctx context.Context, ls ...DeadLetter) error
	// AddCounters adds to the counters.
	AddCounters(ctx context.Context, c Counters) error

	// RemoveMoved removes deliveries, and no longer counts their events.
	RemoveMoved(ctx context.Context, ds ...Delivery) error
	// OldestDeadLetters returns up to n dead letters with their payloads, oldest
	// first. It ends at MaxDeadLetterPageBytes, but has at least one if there is any.
	OldestDeadLetters(ctx context.Context, n int) ([]DeadLetter, error)
	// RemoveMovedDeadLetters removes dead letters, and no longer counts their events.
	RemoveMovedDeadLetters(ctx context.Context, ls ...DeadLetter) error
}

// Counters are the counters of Stats.
type Counters struct{ Accepted, Rejected, Failed, Purged, Dropped int64 }

// Counters returns the counters of events since the queue was created.
func (s *Stats) Counters() Counters {
	return Counters{s.Accepted, s.Rejected, s.Failed, s.Purged, s.Dropped}
}

// Negated returns the counters that undo adding c.
func (c Counters) Negated() Counters {
	return Counters{-c.Accepted, -c.Rejected, -c.Failed, -c.Purged, -c.Dropped}
}

// CountersOfDeadLetter returns how the events of a dead letter are counted.
func CountersOfDeadLetter(reason DeadReason, events int64) Counters {
	if reason == Rejected {
		return Counters{Rejected: events}
	}
	return Counters{Accepted: events, Failed: events}
}

// ContentHash returns a hash of everything but the ID.
func (l *DeadLetter) ContentHash() string {
	h := sha256.New()
	for _, s := range []string{string(l.Reason), l.Cause, l.AgentID, l.EventID} {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	h.Write(binary.AppendVarint(binary.AppendVarint(nil, int64(l.Events)), l.Time.UnixMicro()))
	h.Write(l.Payload)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
