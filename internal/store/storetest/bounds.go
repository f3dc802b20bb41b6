package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/store"
)

// testManyTypes checks that a minute counts a bounded number of event types by name, and
// the events of all others together.
func testManyTypes(t *testing.T, s store.Store) {
	const perBatch = 150
	total := int64(0)
	for n := range 5 {
		evs := plainEvents(t, n*perBatch, (n+1)*perBatch)
		for i := range evs {
			evs[i].Received = startTime
			evs[i].Type = fmt.Sprint("type", n*perBatch+i)
		}
		save(t, s, store.Batch{ID: fmt.Sprint("b", n), Events: evs})
		total += perBatch
	}
	for _, m := range must[[]store.MinuteCounts](t)(s.Activity(t.Context(), time.Time{}, time.Time{})) {
		for _, n := range m.Events {
			total -= n
		}
		if len(m.Events) > store.MaxTypesPerMinute+1 || m.Events[store.OtherTypesName] == 0 {
			t.Errorf("%d types, %d events of others", len(m.Events), m.Events[store.OtherTypesName])
		}
	}
	if total != 0 {
		t.Errorf("%d events are not counted", total)
	}
}

// testObservationPages checks that a page of observations ends at a number of bytes.
func testObservationPages(t *testing.T, s store.Store) {
	const events, perEvent = 4, 60
	evs := plainEvents(t, 0, events)
	value := strings.Repeat("v", 32<<10)
	for n := range evs {
		b := store.Batch{ID: fmt.Sprint("b", n), Events: evs[n : n+1]}
		for i := range perEvent {
			m := makeObservedMatch(fmt.Sprint("rule", i), evs[n], true)
			m.Observed = map[string]string{"User": fmt.Sprint(i, value)}
			b.Matches = append(b.Matches, m)
		}
		save(t, s, b)
	}
	count, pages, offset := 0, 0, int64(0)
	seen := make(map[string]bool)
	for {
		page, next, err := s.Observations(t.Context(), offset, 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			if len(o.Fields["User"]) > 256 {
				t.Fatalf("a value of %d bytes", len(o.Fields["User"]))
			}
			seen[o.RuleID+" "+o.EventID+" "+o.Fields["User"]] = true
		}
		count, pages, offset = count+len(page), pages+1, next
	}
	if count != events*perEvent || len(seen) != count {
		t.Errorf("%d observations, %d of them different, in %d pages", count, len(seen), pages)
	}
}
