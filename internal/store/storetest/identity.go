package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// eventSentBy returns an event as an agent's own token sends it.
func eventSentBy(t testing.TB, n int, agent string) picket.Event {
	ev := makeEvent(t, n, fmt.Sprintf(`{"n":%d,"agent":%q}`, n, agent))
	ev.Sender, ev.AgentID, ev.Host = "agent:"+agent, agent, "host of "+agent
	return ev
}

// testEventIDsPerSender checks that a sender that uses the id of another's event first takes
// neither the event nor its alert away, and that each of the events can be reached.
func testEventIDsPerSender(t *testing.T, s store.Store) {
	attacker, victim := eventSentBy(t, 1, "a"), eventSentBy(t, 1, "b")
	relayed := victim
	relayed.Sender = "collector:c"
	evs := []picket.Event{attacker, victim, relayed}
	for i, ev := range evs {
		saved := save(t, s, store.Batch{ID: fmt.Sprint("b", i), Events: []picket.Event{ev}, Matches: []picket.Match{makeMatch("r", ev)}})[0]
		if saved.Stored != 1 || saved.Matches != 1 {
			t.Errorf("event of %s: %+v", ev.Sender, saved)
		}
	}
	checkEqual(t, "events", searchAll(t, s, store.EventQuery{}), []picket.Event{relayed, victim, attacker})
	alerts := listAlerts(t, s, store.AlertQuery{})
	if len(alerts) != 2 || alerts[0].Count+alerts[1].Count != 3 {
		t.Errorf("alerts are %+v, want one of each agent with 3 matches in all", alerts)
	}

	for _, ev := range evs {
		checkEqual(t, "event by reference", must[picket.Event](t)(s.Event(t.Context(), store.RefOf(&ev))), ev)
		checkEqual(t, "event by sender", must[picket.Event](t)(s.Event(t.Context(), store.EventSelector{ID: ev.ID, Sender: ev.Sender})), ev)
		matches := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{EventID: ev.ID, EventNamespace: ev.Namespace()})).Matches
		if len(matches) != 1 || matches[0].EventKey() != ev.Key() || matches[0].ID != picket.MatchID("r", ev.Key()) {
			t.Errorf("matches on the event of %s: %+v", ev.Sender, matches)
		}
	}
	checkEqual(t, "event by agent", must[picket.Event](t)(s.Event(t.Context(), store.EventSelector{ID: attacker.ID, AgentID: "a"})), attacker)
	checkAmbiguous(t, s, store.EventSelector{ID: attacker.ID}, relayed, victim, attacker)
	checkAmbiguous(t, s, store.EventSelector{ID: attacker.ID, AgentID: "b"}, relayed, victim)
	for _, ref := range []store.EventSelector{{ID: victim.ID, AgentID: "c"}, {ID: victim.ID, Namespace: "unknown"}, {ID: victim.ID, Namespace: store.NoEventNamespace},
		{ID: victim.ID, AgentID: "a", Namespace: victim.Namespace()}} {
		_, err := s.Event(t.Context(), ref)
		checkError(t, fmt.Sprintf("%+v", ref), err, picket.ErrNotFound)
	}

	// Sending an event again changes nothing.
	for i, ev := range evs {
		saved := save(t, s, store.Batch{ID: fmt.Sprint("again", i), Events: []picket.Event{ev}, Matches: []picket.Match{makeMatch("r", ev)}})
		checkEqual(t, "the event again", saved, []store.SaveResult{{Duplicate: 1}})
	}
}

// checkAmbiguous checks that ref names several events.
func checkAmbiguous(t *testing.T, s store.Store, ref store.EventSelector, want ...picket.Event) {
	t.Helper()
	_, err := s.Event(t.Context(), ref)
	ambiguous, ok := errors.AsType[*store.AmbiguousEventError](err)
	if !ok {
		t.Errorf("%+v: error is %v, want that the reference is ambiguous", ref, err)
		return
	}
	for i := range want {
		want[i].Raw, want[i].Fields = nil, nil
	}
	checkEqual(t, fmt.Sprintf("%+v", ref), ambiguous.Events, want)
}

// testSameIDInSeveralIndices checks that documents with the same id in several indices are all
// stored, also if one batch has them.
func testSameIDInSeveralIndices(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 2)
	for i := range evs {
		evs[i].ID, evs[i].AgentID, evs[i].Sender, evs[i].Index = "same", "agent", "collector:c", fmt.Sprint("logs-", i)
	}
	b := store.Batch{ID: "b1", Events: evs, Matches: []picket.Match{makeMatch("r", evs[1])}}
	checkEqual(t, "saved", save(t, s, b)[0].Stored, 2)
	matches := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{})).Matches
	if len(matches) != 1 || matches[0].EventNamespace != evs[1].Namespace() {
		t.Errorf("matches are %+v, want one on the second event", matches)
	}
	for _, ev := range evs {
		checkEqual(t, "event by index", must[picket.Event](t)(s.Event(t.Context(), store.EventSelector{ID: "same", Index: ev.Index})), ev)
	}
}

// testSameIDListLimit checks that the list of events with one id is bounded.
func testSameIDListLimit(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, store.MaxListedSameID+20)
	for i := range evs {
		evs[i].ID, evs[i].Sender, evs[i].AgentID = "same", "collector:c", fmt.Sprint("agent-", i)
	}
	checkEqual(t, "saved", save(t, s, store.Batch{ID: "b1", Events: evs}), []store.SaveResult{{Stored: len(evs)}})
	_, err := s.Event(t.Context(), store.EventSelector{ID: "same"})
	if e, ok := errors.AsType[*store.AmbiguousEventError](err); !ok || len(e.Events) != store.MaxListedSameID || !e.More {
		t.Errorf("error is %v", err)
	}
	checkEqual(t, "one of them", must[picket.Event](t)(s.Event(t.Context(), store.RefOf(&evs[0]))), evs[0])
}

// testNoSender checks that events from before senders were recorded are identified by
// their id alone, apart from those with senders.
func testNoSender(t *testing.T, s store.Store) {
	before, after := eventSentBy(t, 1, "a"), eventSentBy(t, 1, "a")
	before.Sender = ""
	otherAgent := before
	otherAgent.AgentID = "b"
	checkEqual(t, "without sender", save(t, s, store.Batch{ID: "b1", Events: []picket.Event{before, otherAgent}, Matches: []picket.Match{makeMatch("r", before)}})[0].Stored, 1)
	checkEqual(t, "with sender", save(t, s, store.Batch{ID: "b2", Events: []picket.Event{after}, Matches: []picket.Match{makeMatch("r", after)}})[0].Stored, 1)
	for _, ev := range []picket.Event{before, after} {
		ref := store.RefOf(&ev)
		checkEqual(t, "event", must[picket.Event](t)(s.Event(t.Context(), ref)), ev)
		matches := must[store.MatchPage](t)(s.Matches(t.Context(), store.MatchQuery{EventID: ev.ID, EventNamespace: ref.Namespace})).Matches
		if len(matches) != 1 || matches[0].ID != picket.MatchID("r", ev.Key()) {
			t.Errorf("matches on the event with sender %q: %+v", ev.Sender, matches)
		}
	}
}

// testConflicts checks that duplicates with other bytes than what is stored are counted
// apart, and change nothing else.
func testConflicts(t *testing.T, s store.Store) {
	evs := []picket.Event{eventSentBy(t, 1, "a"), eventSentBy(t, 2, "a"), eventSentBy(t, 3, "a")}
	changed := func(i int) picket.Event {
		ev := evs[i]
		ev.Raw = append([]byte(" "), ev.Raw...)
		return ev
	}
	checkEqual(t, "in one batch", save(t, s, store.Batch{ID: "b1", Events: []picket.Event{evs[0], changed(0), evs[0], evs[1]}}),
		[]store.SaveResult{{Stored: 2, Duplicate: 2, Conflicting: []int{1}}})
	checkEqual(t, "in another", save(t, s, store.Batch{ID: "b2", Events: []picket.Event{evs[1], changed(0), changed(1)}}),
		[]store.SaveResult{{Duplicate: 3, Conflicting: []int{1, 2}}})
	checkEqual(t, "in two at once", save(t, s, store.Batch{ID: "b3", Events: []picket.Event{evs[2]}}, store.Batch{ID: "b4", Events: []picket.Event{changed(2), evs[2]}}),
		[]store.SaveResult{{Stored: 1}, {Duplicate: 2, Conflicting: []int{0}}})
	other := changed(0)
	other.Sender = "collector:c"
	checkEqual(t, "of another sender", save(t, s, store.Batch{ID: "b5", Events: []picket.Event{other}}), []store.SaveResult{{Stored: 1}})
	checkEqual(t, "the first copy", string(must[picket.Event](t)(s.Event(t.Context(), store.RefOf(&evs[0]))).Raw), string(evs[0].Raw))
	totals := must[store.Totals](t)(s.Totals(t.Context()))
	if totals.Stored != 4 || totals.Duplicate != 7 || totals.Conflicting != 4 {
		t.Errorf("totals are %+v, want 4 stored, 7 duplicate of which 4 are conflicting", totals)
	}
}

// testSecret checks that a secret stays what it is.
func testSecret(t *testing.T, s store.Store) {
	secret := func(name string) string { return string(must[[]byte](t)(s.Secret(t.Context(), name))) }
	first := secret("one")
	if len(first) != store.SecretBytes || first != secret("one") || first == secret("two") {
		t.Error("secrets are not of their size, not kept or all the same")
	}
}
