// Package storetest is the conformance suite of store.Store. The test of each
// implementation calls Run.
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

// A testCase is one subtest of the suite.
type testCase struct {
	name string
	test func(*testing.T, store.Store)
}

// Run runs the suite. open returns an empty store, which the suite does not
// close; it is called once for each subtest.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	RunEvents(t, open)
	run(t, open, []testCase{
		{"Alerts/Grouping", testAlertGrouping},
		{"Alerts/Duplicates", testAlertsOfDuplicateEvents},
		{"Alerts/Triage", testTriage},
		{"Alerts/Reopen", testReopenAlert},
		{"Alerts/Limit", testAlertMatchLimit},
		{"Alerts/Prune", testPruneAlerts},
		{"Alerts/Queries", testAlertQueries},
		{"Alerts/Paging", testAlertPaging},
		{"Alerts/Counts", testAlertCounts},
		{"Matches", testMatchQueries},
		{"Correlations/Observations", testObservations},
		{"Correlations/Pages", testObservationPages},
		{"Correlations/Commits", testCorrelationCommits},
		{"Coordination/Rules", testPublishedRules},
		{"Coordination/Workers", testWorkers},
		{"Coordination/Secret", testSecret},
		{"Hosts", testHosts},
		{"Hosts/Paging", testHostPaging},
		{"Hosts/OneName", testHostsOfOneName},
		{"Hosts/Many", testManyHosts},
		{"Tokens", testTokens},
		{"Users", testUsers},
		{"Users/ConcurrentAdd", testConcurrentAddUser},
		{"Sessions", testSessions},
		{"Audit", testAuditLog},
		{"Audit/Concurrent", testConcurrentAudit},
	})
}

// QuotaOfAlerts is the option MaxNewAlerts of the stores that RunQuotas opens.
const QuotaOfAlerts = 5

// RunQuotas runs the part of the suite about quotas.
func RunQuotas(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, []testCase{
		{"Quota/Agent", testAgentQuota},
		{"Quota/Matches", testMatchQuota},
		{"Quota/Sender", testSenderAlertQuota},
	})
}

// RunEvents runs the part of the suite about store.Events, for an engine that can
// store events in several ways.
func RunEvents(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, []testCase{
		{"Save/RoundTrip", testRoundTrip},
		{"Save/Duplicates", testDuplicates},
		{"Save/DuplicatesInOneBatch", testDuplicatesInOneBatch},
		{"Save/DuplicateBatch", testDuplicateBatch},
		{"Save/ManyBatches", testSaveSeveralBatches},
		{"Save/NoID", testRefuseBatchWithoutID},
		{"Save/Concurrent", testConcurrentSaves},
		{"Save/ConcurrentDuplicates", testConcurrentDuplicates},
		{"SearchEvents/Order", testSearchOrder},
		{"SearchEvents/Paging", testSearchPaging},
		{"SearchEvents/Time", testSearchEventTime},
		{"SearchEvents/Queries", testQueries},
		{"SearchEvents/Random", testRandomQueries},
		{"SearchEvents/BadCursor", testBadCursors},
		{"SearchEvents/OnlyFields", testOnlyFields},
		{"SearchEvents/Ends", testSearchEndsWithContext},
		{"EachFieldNames", testFieldNames},
		{"CountEvents", testCountEvents},
		{"PageBytes", testPageBytes},
		{"Event", testEventByID},
		{"Identity/Senders", testEventIDsPerSender},
		{"Identity/Indexes", testSameIDInSeveralIndices},
		{"Identity/ManySenders", testSameIDListLimit},
		{"Identity/NoSender", testNoSender},
		{"Identity/Conflicts", testConflicts},
		{"Totals", testTotals},
		{"Activity", testMinuteCounts},
		{"Activity/ManyTypes", testManyTypes},
		{"Prune/Age", testPruneAge},
		{"Prune/Bytes", testPruneBytes},
	})
}

func run(t *testing.T, open func(t *testing.T) store.Store, cases []testCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

// startTime is the time of event 0.
var startTime = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// makeEvent returns event number n, with the fields that raw has.
func makeEvent(t testing.TB, n int, raw string) picket.Event {
	t.Helper()
	at := startTime.Add(time.Duration(n) * time.Second)
	var dec flatjson.Decoder
	fields, err := dec.Decode([]byte(raw), nil)
	if err != nil {
		t.Fatalf("test event %s: %v", raw, err)
	}
	return picket.Event{
		ID: fmt.Sprintf("event-%06d", n), AgentID: fmt.Sprintf("agent-%d", n%3), Host: fmt.Sprintf("host-%d", n%2),
		Type: "process", OS: "linux", Time: at, Received: at.Add(time.Minute), Raw: []byte(raw), Fields: fields,
	}
}

// plainEvents returns the events from number lo up to but not including hi.
func plainEvents(t testing.TB, lo, hi int) []picket.Event {
	var out []picket.Event
	for n := lo; n < hi; n++ {
		out = append(out, makeEvent(t, n, fmt.Sprintf(`{"n":%d,"even":%t,"name":"Process %d"}`, n, n%2 == 0, n)))
	}
	return out
}

// makeMatch returns the match of a rule on an event.
func makeMatch(rule string, ev picket.Event) picket.Match {
	return picket.Match{
		ID: picket.MatchID(rule, ev.Key()), RuleID: rule, EventID: ev.ID, EventNamespace: ev.Namespace(), AgentID: ev.AgentID, Time: ev.Time,
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
		t.Fatalf("Save of %d batches returned %d results", len(batches), len(out))
	}
	return out
}

// searchAll returns all that q selects, page by page.
func searchAll(t testing.TB, s store.Store, q store.EventQuery) []picket.Event {
	t.Helper()
	var out []picket.Event
	for {
		page, err := s.SearchEvents(t.Context(), q)
		if err != nil {
			t.Fatalf("SearchEvents: %v", err)
		}
		out = append(out, page.Events...)
		if page.Next == "" {
			return out
		}
		q.Cursor = page.Next
	}
}

func eventIDs(evs []picket.Event) []string {
	out := make([]string, len(evs))
	for i := range evs {
		out[i] = evs[i].ID
	}
	return out
}

// idsNewestFirst returns the ids of events in the order in which SearchEvents
// returns them if they are saved in the order of evs.
func idsNewestFirst(evs []picket.Event) []string {
	out := make([]string, 0, len(evs))
	for i := len(evs) - 1; i >= 0; i-- {
		out = append(out, evs[i].ID)
	}
	return out
}

func checkEqual(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func checkError(t testing.TB, what string, err, kind error) {
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
