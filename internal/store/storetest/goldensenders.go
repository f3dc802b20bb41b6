package storetest

import (
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
)

// The golden store of senders has what the golden store has no example of: events
// with senders, of which two have the same id, and a conflicting duplicate.

func goldenSenders(t testing.TB) []picket.Event {
	evs := []picket.Event{eventSentBy(t, 1, "a"), eventSentBy(t, 1, "b"), eventSentBy(t, 2, "b")}
	evs[1].Sender, evs[1].Index = "collector:c", "logs-1"
	return evs
}

// FillGoldenSenders makes an empty store the golden store of senders.
func FillGoldenSenders(t testing.TB, s store.Store) {
	t.Helper()
	evs := goldenSenders(t)
	save(t, s, store.Batch{ID: "senders-1", Events: evs, Matches: []picket.Match{makeMatch("r", evs[0]), makeObservedMatch("r", evs[1], false)}})
	changed := evs[0]
	changed.Raw = []byte(`{}`)
	save(t, s, store.Batch{ID: "senders-2", Events: []picket.Event{changed}})
	_, err := s.Totals(t.Context()) // applies what is pending
	testenv.Check(t, err)
}

// CheckGoldenSenders says what in a store is not as FillGoldenSenders saved it.
func CheckGoldenSenders(t *testing.T, s store.Store) {
	t.Helper()
	evs := goldenSenders(t)
	checkEqual(t, "events", searchAll(t, s, store.EventQuery{}), []picket.Event{evs[2], evs[1], evs[0]})
	checkAmbiguous(t, s, store.EventSelector{ID: evs[0].ID}, evs[1], evs[0])
	for i := range evs {
		checkEqual(t, "event", must[picket.Event](t)(s.Event(t.Context(), store.RefOf(&evs[i]))), goldenSenders(t)[i])
	}
	for i := range evs[:2] {
		matches := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{EventID: evs[i].ID, EventNamespace: evs[i].Namespace()})).Matches
		if len(matches) != 1 || matches[0].ID != makeMatch("r", evs[i]).ID {
			t.Errorf("matches on event %d: %+v", i, matches)
		}
	}
	observations, _, err := s.Observations(t.Context(), 0, 10)
	testenv.Check(t, err)
	if len(observations) != 1 || observations[0].EventNamespace != evs[1].Namespace() {
		t.Errorf("observations are %+v", observations)
	}
	totals := must[store.Totals](t)(s.Totals(t.Context()))
	if totals.Stored != 3 || totals.Duplicate != 1 || totals.Conflicting != 1 || totals.Matches != 2 {
		t.Errorf("totals are %+v", totals)
	}
	changed := evs[2]
	changed.Raw = []byte(`{}`)
	checkEqual(t, "duplicates", save(t, s, store.Batch{ID: "senders-3", Events: []picket.Event{evs[0], changed}}), []store.SaveResult{{Duplicate: 2, Conflicting: []int{1}}})
}
