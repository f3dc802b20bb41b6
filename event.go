package picket

import (
	"time"

	"github.com/picket-edr/picket/sigma"
)

// An Event is one telemetry record of an endpoint.
//
// Intake fills everything but Fields; detection fills Fields from Raw; the
// store keeps all of it. An Event is identified by its ID alone: two events
// with one ID are the same event, and the second is a duplicate.
type Event struct {
	// ID is the sender's event_id where it has one; otherwise intake derives
	// it from the content and the position in the batch, so that a retry of
	// the same bytes gets the same ID.
	ID string
	// AgentID names the program that sent the event; Host the machine that it
	// is about. They differ behind a forwarder. Neither is ever empty.
	AgentID, Host string
	// Type is the declared or derived kind, as in "process" or "dns_query".
	Type string
	// OS is the host's: "windows", "linux", "macos", or "" where it can't be told.
	OS string
	// Time is when it happened by the sender's clock, Received when intake
	// took it. Both are UTC with microseconds; Time is Received where the
	// sender gave none.
	Time, Received time.Time
	// Raw is the JSON object exactly as received.
	Raw []byte
	// Fields are the event's values under Sigma's names and, where a value
	// has no Sigma name, under its dotted path in Raw.
	Fields []sigma.Field
}

// A Batch is what an agent posts at once: the unit that is queued, detected
// on and stored.
type Batch struct {
	// ID is unique to the accepted request. A batch that is delivered twice
	// has the same ID both times, which lets the store count it once.
	ID       string
	Received time.Time
	Events   []Event
}
