package picket

import (
	"slices"
	"strings"
	"testing"
)

func TestMatchEvents(t *testing.T) {
	for _, c := range []struct {
		events, matches string // ids of events; rule.event of matches
		want            []int
	}{
		{"", "", []int{}},
		{"a b c", "r.a s.a r.c", []int{0, 0, 2}},
		{"a b a c b", "r.a r.b s.a", []int{0, 1, 2}},    // a again, after b
		{"a a", "r.a r.a", []int{0, 1}},                 // the same match again: the next event
		{"a b a", "r.a s.a r.a s.a", []int{0, 0, 2, 2}}, // both rules on each
		{"a b c", "r.c r.a s.b", []int{2, 0, 1}},        // out of order
		{"a b", "r.x r.b", []int{-1, 1}},                // on no event
		{"a", "r.a r.a", []int{0, 0}},                   // more often than the event
		{"", "r.a", []int{-1}},
	} {
		var events []Event
		for _, id := range strings.Fields(c.events) {
			events = append(events, Event{ID: id})
		}
		var matches []Match
		for _, m := range strings.Fields(c.matches) {
			_, event, _ := strings.Cut(m, ".")
			matches = append(matches, Match{ID: m, EventID: event})
		}
		if got := MatchEvents(events, matches); !slices.Equal(got, c.want) {
			t.Errorf("matches %q on events %q: %v, want %v", c.matches, c.events, got, c.want)
		}
	}
}
