package picket

import "slices"

// MatchEvents returns, for each match, the index of the event that it is on, -1
// if that is not among the events. Matches are in the order of the events. An id
// may occur more than once: a match is on the next event of its id if the same
// match has been seen on the current one.
func MatchEvents(events []Event, matches []Match) []int {
	out := make([]int, len(matches))
	at, first := 0, 0 // matches[first:i] are on events[at]
	for i := range matches {
		m := &matches[i]
		isRepeat := slices.ContainsFunc(matches[first:i], func(o Match) bool { return o.ID == m.ID })
		if !isRepeat && at < len(events) && events[at].ID == m.EventID {
			out[i] = at
			continue
		}
		next := min(at, len(events))
		if isRepeat {
			next++
		}
		k := indexOfID(events, next, m.EventID)
		if k < 0 { // out of order
			out[i] = indexOfID(events, 0, m.EventID)
			continue
		}
		out[i], at, first = k, k, i
	}
	return out
}

// indexOfID returns the first index at or after from of the event with an id.
func indexOfID(events []Event, from int, id string) int {
	for i := from; i < len(events); i++ {
		if events[i].ID == id {
			return i
		}
	}
	return -1
}
