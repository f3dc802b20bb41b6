package picket

import (
	"time"

	"github.com/picket-edr/picket/sigma"
)

// An Event is one telemetry record of an endpoint.
//
// The intake sets everything but Fields; detection derives Fields from Raw; the store
// keeps all of it. An event is identified by its Key, which stands for Sender, AgentID,
// Index and ID: two events with the same key are the same event, and the second is a
// duplicate.
type Event struct {
	// ID is the sender's event_id or, if it has none, derived from a secret, the
	// content and the position in the batch, so that a retry of the same bytes gets
	// the same ID. Other senders may use the same ID for other events.
	ID string
	// Sender is who sent the event, as the intake authenticated it: the kind and name
	// of its token, such as "agent:web-1" or "collector:fluentd", or "celery" for
	// tasks of other programs. It is "" for events accepted before it was recorded.
	Sender string
	// Index is the Elasticsearch index of an event that was sent to one, or "".
	Index string
	// AgentID is the agent that sent the event, Host the machine that it is about.
	// They differ behind a forwarder. Neither is ever empty.
	AgentID, Host string
	// Type is the declared or derived type, such as "process" or "dns_query".
	Type string
	// OS is the host's: "windows", "linux", "macos", or "" if unknown.
	OS string
	// Time is when the event happened by the sender's clock, or Received if the
	// sender gave no time. Received is when the intake accepted it. Both are UTC in
	// microseconds.
	Time, Received time.Time
	// Raw is the JSON object exactly as received.
	Raw []byte
	// Fields are the event's values under their Sigma names, or under their dotted
	// paths in Raw if they have none.
	Fields []sigma.Field
}

// maxSenderClockLead is how far a sender's clock is believed to be ahead.
const maxSenderClockLead = 24 * time.Hour

// IsFromFuture reports whether Time is so long after Received that the sender's clock,
// or the event, is wrong.
func (e *Event) IsFromFuture() bool {
	return !e.Received.IsZero() && e.Time.Sub(e.Received) > maxSenderClockLead
}

// PlausibleTime is the time of the event's matches, by which alerts are listed: Time, or
// Received if the event is from the future. Otherwise such an event would stay on top
// of the lists.
func (e *Event) PlausibleTime() time.Time {
	if e.IsFromFuture() {
		return e.Received
	}
	return e.Time
}

// A Batch is the events of one request: the unit that is queued, evaluated and stored.
type Batch struct {
	// ID is unique to the request. A batch that is delivered twice has the same ID,
	// so that the store counts it once.
	ID       string
	Received time.Time
	Events   []Event
}
