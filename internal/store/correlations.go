package store

import (
	"context"
	"time"

	"github.com/picket-edr/picket"
)

// Correlations keeps what correlations are worked out from: a record of the
// events on which their rules fired, in the order in which they were saved,
// and how far one follower, which may be in any process, has come in it.
type Correlations interface {
	// AcquireCorrelationLease makes holder the follower for ttl, or for ttl more, and reports
	// false while it is another.
	AcquireCorrelationLease(ctx context.Context, holder string, ttl time.Duration) (bool, error)
	// Observations returns what was saved after a mark, oldest first: of whole
	// batches, about limit in all, and the mark of the last. A mark is opaque
	// but for 0, which is before everything.
	Observations(ctx context.Context, after int64, limit int) (page []Observation, mark int64, err error)
	// CorrelationCheckpoint returns the Offset and State of the last conclusion, or 0 and nil.
	CorrelationCheckpoint(ctx context.Context) (mark int64, state []byte, err error)
	// CommitCorrelations stores what came of the observations up to a mark, in one
	// durable step. It is picket.ErrConflict where holder does not lead.
	CommitCorrelations(ctx context.Context, holder string, c CorrelationCommit) (SaveResult, error)
}

// An Observation is an event on which a rule fired that a correlation is over:
// a Match with Observed of Save.
type Observation struct {
	RuleID  string            `json:"rule"`
	EventID string            `json:"event"`
	AgentID string            `json:"agent"`
	Host    string            `json:"host"`
	Time    time.Time         `json:"time"`
	Fields  map[string]string `json:"fields"`
	Arrived time.Time         `json:"-"` // when it was saved
}

// A CorrelationCommit is a step of the follower.
type CorrelationCommit struct {
	Offset       int64          // up to which observations were looked at
	State        []byte         // what else it needs to go on; nil leaves what is there
	Matches      []picket.Match // on events stored before; those that are known are left out
	DeleteBefore time.Time      // observations that arrived before it are deleted; zero: none
	// Replay says that the matches may have been concluded before, so that past
	// picket.AlertMatchLimit, where that can't be known, they are not counted.
	Replay bool
}
