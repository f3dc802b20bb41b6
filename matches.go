package picket

import (
	"iter"
	"slices"
)

// MatchesByEvent returns the index of each event that has matches, with these
// matches. The matches must be in the order of the events. If event IDs repeat,
// the second match of a rule on an ID belongs to the next event with that ID.
func MatchesByEvent(events []Event, matches []Match) iter.Seq2[int, []Match] {
	return func(yield func(int, []Match) bool) {
		at := 0
		for len(matches) > 0 {
			for at < len(events) && events[at].ID != matches[0].EventID {
				at++
			}
			if at == len(events) {
				return
			}
			n := 1
			for n < len(matches) && matches[n].EventID == events[at].ID &&
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
