package store

import (
	"slices"

	"github.com/picket-edr/picket"
)

// NewMatches returns the matches of b on the events that isNew says are new.
func NewMatches(b *Batch, isNew []bool) []picket.Match {
	if !slices.Contains(isNew, false) {
		return b.Matches
	}
	var out []picket.Match
	for i, matches := range picket.MatchesByEvent(b.Events, b.Matches) {
		if isNew[i] {
			out = append(out, matches...)
		}
	}
	return out
}

// Sender returns the sender of the events, which is the same for all events of a batch.
func (b *Batch) Sender() string {
	if len(b.Events) == 0 {
		return ""
	}
	return b.Events[0].Sender
}

// HostActivity summarizes the events of a batch that came from one host. Times
// are those of receipt, in microseconds.
type HostActivity struct {
	OS                  string // of the last event that has one
	Sender              string // of the first event
	First, Last, Events int64
}

// Add adds an event received at a time.
func (h *HostActivity) Add(ev *picket.Event, received int64) {
	if h.Events == 0 || received >= h.Last {
		h.Last = received
		if ev.OS != "" {
			h.OS = ev.OS
		}
	}
	if h.Events == 0 {
		h.Sender = ev.Sender
	}
	if h.Events == 0 || received < h.First {
		h.First = received
	}
	h.Events++
}
