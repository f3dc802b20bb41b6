package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma/correlation"
)

// Correlations stores what correlations are evaluated from: a log of the events
// that matched their rules, in the order in which they were saved, and how far
// the one process that evaluates them has read it.
type Correlations interface {
	// AcquireCorrelationLease gives the lease to holder for ttl, or extends it. It
	// returns false while another holder has it.
	AcquireCorrelationLease(ctx context.Context, holder string, ttl time.Duration) (bool, error)
	// Observations returns what was saved after an offset, oldest first, about limit
	// observations or MaxObservationPageBytes in all, and the offset of the last. An
	// offset is opaque, except that 0 is before everything.
	Observations(ctx context.Context, after int64, limit int) (page []Observation, offset int64, err error)
	// CorrelationCheckpoint returns the Offset and State committed last, or 0 and
	// nil. A State of more than MaxStateBytes is nil.
	CorrelationCheckpoint(ctx context.Context) (offset int64, state []byte, err error)
	// CommitCorrelations stores the result of evaluating the observations up to an
	// offset, in one durable step. It is picket.ErrConflict if holder does not
	// have the lease.
	CommitCorrelations(ctx context.Context, holder string, c CorrelationCommit) (SaveResult, error)
}

// Bounds of what is read at once.
const (
	MaxObservationPageBytes = 4 << 20  // of a page of observations, as JSON
	MaxStateBytes           = 32 << 20 // of a CorrelationCommit.State
)

// An Observation is an event that matched a rule of a correlation: a match with
// Observed that was given to Save.
type Observation struct {
	RuleID         string            `json:"rule"`
	EventID        string            `json:"event"`
	EventNamespace string            `json:"namespace,omitempty"` // picket.Event.Namespace
	AgentID        string            `json:"agent"`
	Host           string            `json:"host"`
	Time           time.Time         `json:"time"`
	Fields         map[string]string `json:"fields"`
	Arrived        time.Time         `json:"-"` // when it was saved
}

// NewObservation returns the observation of a match.
func NewObservation(m *picket.Match) Observation {
	return Observation{RuleID: m.RuleID, EventID: m.EventID, EventNamespace: m.EventNamespace, AgentID: m.AgentID, Host: m.Host, Time: m.Time, Fields: m.Observed}
}

// Size is about how many bytes the observation is as JSON.
func (o *Observation) Size() int {
	n := 128 + len(o.RuleID) + len(o.EventID) + len(o.EventNamespace) + len(o.AgentID) + len(o.Host)
	for name, v := range o.Fields {
		n += 6 + len(name) + len(v)
	}
	return n
}

// DecodeObservations calls add with each observation of the JSON array that is next
// in dec. It decodes one at a time, with values as correlation.ShortenValue shortens
// them, because arrays that were stored before values were bounded may be large.
func DecodeObservations(dec *json.Decoder, add func(Observation)) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return cmp.Or(err, errNotArray)
	}
	for dec.More() {
		var o Observation
		if err := dec.Decode(&o); err != nil {
			return err
		}
		for name, v := range o.Fields {
			if len(v) > correlation.MaxValueBytes {
				o.Fields[name] = strings.Clone(correlation.ShortenValue(v))
			}
		}
		add(o)
	}
	_, err := dec.Token()
	return err
}

var errNotArray = errors.New("observations are not an array")

// A CorrelationCommit is the result of one evaluation step.
type CorrelationCommit struct {
	Offset       int64          // of the last observation that was evaluated
	State        []byte         // to resume from; nil keeps the state committed before
	Matches      []picket.Match // on stored events; those that are stored already are left out
	DeleteBefore time.Time      // delete the observations that arrived before; zero: none
	// Replay says that the matches may have been committed before. A match past
	// picket.MaxStoredMatchesPerAlert is then not counted, because whether it is new is
	// not known.
	Replay bool
}
