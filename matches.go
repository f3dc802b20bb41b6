package picket

import (
	"iter"
	"slices"
)

// MatchesByEvent returns the index of each event that has matches, with these
// matches. The matches must be in the order of the events. If an event is repeated,
// the second match of a rule on it belongs to the next copy.
func MatchesByEvent(events []Event, matches []Match) iter.Seq2[int, []Match] {
	return func(yield func(int, []Match) bool) {
		at := 0
		for len(matches) > 0 {
			for at < len(events) && !matches[0].isOfEvent(&events[at]) {
				at++
			}
			if at == len(events) {
				return
			}
			n := 1
			for n < len(matches) && matches[n].isOfEvent(&events[at]) &&
				!slices.ContainsFunc(matches[:n], func(m Match) bool { return m.ID == matches[n].ID }) {
				n++
			}
			if !yield(at, matches[:n:n]) {
				return
			}
			matches = matches[n:]
			at++
		}
	}
}

// isOfEvent reports whether m is a match on an event.
func (m *Match) isOfEvent(e *Event) bool {
	return m.EventID == e.ID && m.EventNamespace == e.Namespace()
}
