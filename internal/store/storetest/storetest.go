// Package storetest holds every implementation of store.Store to the promises
// of that package. An implementation's own test calls Run.
package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// Run runs the suite. open returns an empty store, which the suite does not
// close; it is called at least once for each subtest.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"Save/RoundTrip", roundTrip},
		{"Save/Duplicates", duplicates},
		{"Save/DuplicatesInOneBatch", duplicatesInOneBatch},
		{"Save/RepeatedBatch", repeatedBatch},
		{"Save/ManyBatches", manyBatches},
		{"Save/NoID", noBatchID},
		{"Save/Concurrent", concurrentSaves},
		{"Save/ConcurrentSame", concurrentSame},
		{"Find/Order", findOrder},
		{"Find/Paging", findPaging},
		{"Find/Time", findTime},
		{"Find/Queries", findQueries},
		{"Find/Random", findRandom},
		{"Find/BadCursor", badCursors},
		{"Event", eventByID},
		{"Totals", totals},
		{"Activity", activity},
		{"Prune/Age", pruneAge},
		{"Prune/Bytes", pruneBytes},
		{"Alerts/Grouping", alertGrouping},
		{"Alerts/Duplicates", alertDuplicates},
		{"Alerts/Triage", alertTriage},
		{"Alerts/Reopen", alertReopen},
		{"Alerts/Limit", alertLimit},
		{"Alerts/Queries", alertQueries},
		{"Alerts/Paging", alertPaging},
		{"Alerts/Counts", alertCounts},
		{"Matches", matchQueries},
		{"Correlations/Observations", observations},
		{"Correlations/Conclusions", conclusions},
		{"Fleet/Rules", publishedRules},
		{"Fleet/Workers", workers},
		{"Hosts", hosts},
		{"Hosts/Paging", hostPaging},
		{"Hosts/Many", manyHosts},
		{"Tokens", tokens},
		{"Users", users},
		{"AddUser", addUser},
		{"Sessions", sessions},
		{"Audit", audit},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

// start is the first moment of made events.
var start = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// event makes event number n, with the fields that raw has.
func event(t testing.TB, n int, raw string) picket.Event {
	t.Helper()
	at := start.Add(time.Duration(n) * time.Second)
	var dec flatjson.Decoder
	fields, err := dec.Decode([]byte(raw), nil)
	if err != nil {
		t.Fatalf("made event %s: %v", raw, err)
	}
	return picket.Event{
		ID: fmt.Sprintf("event-%06d", n), AgentID: fmt.Sprintf("agent-%d", n%3), Host: fmt.Sprintf("host-%d", n%2),
		Type: "process", OS: "linux", Time: at, Received: at.Add(time.Minute), Raw: []byte(raw), Fields: fields,
	}
}

// plain makes events from number lo up to but not including hi.
func plain(t testing.TB, lo, hi int) []picket.Event {
	var out []picket.Event
	for n := lo; n < hi; n++ {
		out = append(out, event(t, n, fmt.Sprintf(`{"n":%d,"even":%t,"name":"Process %d"}`, n, n%2 == 0, n)))
	}
	return out
}

// match makes the match of a rule on an event.
func match(rule string, ev picket.Event) picket.Match {
	return picket.Match{
		ID: picket.MatchID(rule, ev.ID), RuleID: rule, EventID: ev.ID, AgentID: ev.AgentID, Time: ev.Time,
		Why:   []sigma.Evidence{{Field: "name", Value: "x"}},
		Title: "Title of " + rule, Level: sigma.High, Tags: []string{"attack.t1059"}, Host: ev.Host,
	}
}

func save(t testing.TB, s store.Store, batches ...store.Batch) []store.SaveResult {
	t.Helper()
	out, err := s.Save(t.Context(), batches...)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	if len(out) != len(batches) {
		t.Fatalf("Save of %d batches answered for %d", len(batches), len(out))
	}
	return out
}

// find returns all that q selects, page by page.
func find(t testing.TB, s store.Store, q store.EventQuery) []picket.Event {
	t.Helper()
	var out []picket.Event
	for {
		page, err := s.SearchEvents(t.Context(), q)
		if err != nil {
			t.Fatalf("Find: %v", err)
		}
		out = append(out, page.Events...)
		if page.Next == "" {
			return out
		}
		q.Cursor = page.Next
	}
}

func ids(evs []picket.Event) []string {
	out := make([]string, len(evs))
	for i := range evs {
		out[i] = evs[i].ID
	}
	return out
}

// newestFirst returns the ids in the order of SearchEvents for events saved in theirs.
func newestFirst(evs []picket.Event) []string {
	out := make([]string, 0, len(evs))
	for i := len(evs) - 1; i >= 0; i-- {
		out = append(out, evs[i].ID)
	}
	return out
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func wantErr(t testing.TB, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: error is %v, want one that is %v", what, err, kind)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
