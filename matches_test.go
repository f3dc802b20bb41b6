package picket_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
)

func TestMatchesByEvent(t *testing.T) {
	events := func(ids ...string) (all []picket.Event) {
		for _, id := range ids {
			all = append(all, picket.Event{ID: id})
		}
		return all
	}
	match := func(rule, event string) picket.Match {
		return picket.Match{ID: picket.MatchID(rule, event), RuleID: rule, EventID: event}
	}
	for name, c := range map[string]struct {
		events  []picket.Event
		matches []picket.Match
		want    map[int][]string // rules
	}{
		"none":     {events("a", "b"), nil, map[int][]string{}},
		"no event": {nil, []picket.Match{match("r", "a")}, map[int][]string{}},
		"some":     {events("a", "b", "c"), []picket.Match{match("r", "b"), match("s", "b"), match("r", "c")}, map[int][]string{1: {"r", "s"}, 2: {"r"}}},
		"repeated": {
			events("a", "b", "a", "a"),
			[]picket.Match{match("r", "a"), match("s", "a"), match("r", "b"), match("r", "a"), match("s", "a"), match("r", "a")},
			map[int][]string{0: {"r", "s"}, 1: {"r"}, 2: {"r", "s"}, 3: {"r"}},
		},
		"in a row": {events("a", "a"), []picket.Match{match("r", "a"), match("r", "a")}, map[int][]string{0: {"r"}, 1: {"r"}}},
		"unknown":  {events("a", "b"), []picket.Match{match("r", "a"), match("r", "x")}, map[int][]string{0: {"r"}}},
	} {
		got := map[int][]string{}
		for at, matches := range picket.MatchesByEvent(c.events, c.matches) {
			for _, m := range matches {
				got[at] = append(got[at], m.RuleID)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Two senders use the same ID: the match belongs to the event of its sender.
func TestMatchesByEventOfTwoSenders(t *testing.T) {
	events := []picket.Event{{ID: "a", Sender: "agent:x", AgentID: "x"}, {ID: "a", Sender: "agent:y", AgentID: "y"}}
	m := picket.Match{RuleID: "r", EventID: "a", EventNamespace: events[1].Namespace()}
	for at, matches := range picket.MatchesByEvent(events, []picket.Match{m}) {
		if at != 1 || len(matches) != 1 {
			t.Errorf("event %d has %d matches", at, len(matches))
		}
		return
	}
	t.Error("no event has the match")
}
