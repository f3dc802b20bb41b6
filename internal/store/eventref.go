package store

import (
	"cmp"
	"fmt"

	"github.com/picket-edr/picket"
)

// NoEventNamespace is the EventSelector.Namespace of events that have none. It is no namespace.
const NoEventNamespace = "-"

// MaxListedSameID is how many events an AmbiguousEventError lists.
const MaxListedSameID = 100

// An EventSelector names an event: by its id, which is enough while only one sender has
// used it, and by what else is set.
type EventSelector struct {
	ID string
	// Namespace and ID name one event, or none.
	Namespace              string
	AgentID, Sender, Index string
}

// RefOf returns the reference that names ev and no other event.
func RefOf(ev *picket.Event) EventSelector { return NewEventRef(ev.ID, ev.Namespace()) }

// NewEventRef returns the reference to the event with an id in a namespace.
func NewEventRef(id, namespace string) EventSelector {
	return EventSelector{ID: id, Namespace: cmp.Or(namespace, NoEventNamespace)}
}

// KeyIfNamespaced returns the key of the event if the reference has a namespace.
func (r EventSelector) KeyIfNamespaced() (string, bool) {
	if r.Namespace == NoEventNamespace {
		return r.ID, true
	}
	return picket.EventKey(r.ID, r.Namespace), r.Namespace != ""
}

// RefersTo reports whether r can name ev.
func (r EventSelector) RefersTo(ev *picket.Event) bool {
	return r.ID == ev.ID && (r.AgentID == "" || r.AgentID == ev.AgentID) && (r.Sender == "" || r.Sender == ev.Sender) &&
		(r.Index == "" || r.Index == ev.Index) && (r.Namespace == "" || r.Namespace == cmp.Or(ev.Namespace(), NoEventNamespace))
}

// An AmbiguousEventError is the error of a reference that names several events. It is
// picket.ErrConflict.
type AmbiguousEventError struct {
	ID string
	// Events are the events, newest first, without Raw and Fields.
	Events []picket.Event
	More   bool // there are more than MaxListedSameID
}

// Error implements error.
func (e *AmbiguousEventError) Error() string {
	n := fmt.Sprint(len(e.Events))
	if e.More {
		n = "more than " + n
	}
	return fmt.Sprintf("%s events have the id %s", n, e.ID)
}

// Unwrap returns picket.ErrConflict.
func (e *AmbiguousEventError) Unwrap() error { return picket.ErrConflict }

// SameIDEvents collects the events that a reference names, newest first.
type SameIDEvents struct {
	ref    EventSelector
	events []picket.Event
	seen   map[string]bool // namespaces
}

// NewSameIDEvents returns a collection for ref.
func NewSameIDEvents(ref EventSelector) *SameIDEvents {
	return &SameIDEvents{ref: ref, seen: make(map[string]bool)}
}

// Add adds ev, without Raw and Fields, if the reference names it. first says that it is
// the first, which the caller has to read, and more that further events matter.
func (s *SameIDEvents) Add(ev picket.Event) (first, more bool) {
	if !s.ref.RefersTo(&ev) {
		return false, true
	}
	namespace := ev.Namespace()
	if s.seen[namespace] { // an older copy of an event that is stored twice
		return false, true
	}
	s.seen[namespace] = true
	ev.Raw, ev.Fields = nil, nil
	s.events = append(s.events, ev)
	return len(s.events) == 1, s.ref.Namespace == "" && len(s.events) <= MaxListedSameID
}

// CheckExactlyOne returns nil if exactly one event was added; picket.ErrNotFound; or an
// AmbiguousEventError.
func (s *SameIDEvents) CheckExactlyOne() error {
	switch n := len(s.events); {
	case n == 0:
		return picket.ErrNotFound
	case n == 1:
		return nil
	default:
		return &AmbiguousEventError{ID: s.ref.ID, Events: s.events[:min(n, MaxListedSameID)], More: n > MaxListedSameID}
	}
}
