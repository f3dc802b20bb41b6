package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

func testRoundTrip(t *testing.T, s store.Store) {
	str := func(name, v string) sigma.Field {
		return sigma.Field{Name: name, Value: sigma.Value{Kind: sigma.String, Text: v}}
	}
	evs := []picket.Event{
		{ID: "flat", AgentID: "a", Host: "h", Type: "t", OS: "windows", Time: startTime, Received: startTime.Add(time.Second),
			Raw: []byte(`{"a":1}`), Fields: []sigma.Field{{Name: "a", Value: sigma.Value{Kind: sigma.Number, Text: "1"}}}},
		{ID: "renamed", AgentID: "a", Host: "h", Type: "t", Time: startTime.Add(time.Microsecond), Received: startTime.Add(time.Second),
			Raw: []byte("{ \"x\" : {\"img\":\"C:\\\\a\\u00e9.exe\",\n\"n\":null, \"l\":[true,\"b\",\"b\",1.50]} }"),
			Fields: []sigma.Field{str("Image", `C:\aé.exe`), {Name: "x.n"}, {Name: "Same", Value: sigma.Value{Kind: sigma.Bool, Text: "true"}},
				str("x.l", "b"), str("x.l", "b"), str("Derived", "not in there"), str("Derived", ""), str("Image", `C:\aé.exe`)}},
		{ID: "no-fields", AgentID: "a", Host: "h2", Time: startTime.Add(-time.Hour), Received: startTime, Raw: []byte(`{"a":1,"a":2}`)},
		{ID: "empty", AgentID: "b", Host: "h2", Time: startTime, Received: startTime, Raw: []byte(` {} `)},
		{ID: "unusual \x00 id ☃", AgentID: "b", Host: "h2", Time: startTime, Received: startTime, Raw: []byte(`{"":"","a.b":"\ud83d\ude00","c":{"":[[]]}}`),
			Fields: []sigma.Field{str("", ""), str("a.b", "😀")}},
	}
	save(t, s, store.Batch{ID: "b1", Events: evs})
	got := searchAll(t, s, store.EventQuery{})
	want := make([]picket.Event, 0, len(evs))
	for i := len(evs) - 1; i >= 0; i-- {
		want = append(want, evs[i])
	}
	checkEqual(t, "events", got, want)
}

func testDuplicates(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 30)
	checkEqual(t, "first", save(t, s, store.Batch{ID: "b1", Events: evs[:20]}), []store.SaveResult{{Stored: 20}})
	again := append([]picket.Event(nil), evs[10:]...)
	again[0].Raw = []byte(`{"other":"content"}`) // an event is identified by its key alone
	checkEqual(t, "overlap", save(t, s, store.Batch{ID: "b2", Events: again}), []store.SaveResult{{Stored: 10, Duplicate: 10, Conflicting: []int{0}}})
	checkEqual(t, "all known", save(t, s, store.Batch{ID: "b3", Events: evs}), []store.SaveResult{{Duplicate: 30}})
	checkEqual(t, "events", eventIDs(searchAll(t, s, store.EventQuery{})), idsNewestFirst(evs))
	ev := must[picket.Event](t)(s.Event(t.Context(), store.EventSelector{ID: evs[10].ID}))
	checkEqual(t, "the first copy", string(ev.Raw), string(evs[10].Raw))
}

func testDuplicatesInOneBatch(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 3)
	double := []picket.Event{evs[0], evs[1], evs[0], evs[2], evs[1]}
	other := makeMatch("other", evs[0])
	b := store.Batch{ID: "b1", Events: double, Matches: []picket.Match{makeMatch("r", evs[0]), makeMatch("r", evs[1]), other}}
	saved := save(t, s, b)[0]
	checkEqual(t, "events", eventIDs(searchAll(t, s, store.EventQuery{})), idsNewestFirst(evs))
	if saved.Stored != 3 || saved.Duplicate != 2 || saved.Matches != 2 {
		t.Errorf("saved %+v, want 3 stored, 2 duplicates, 2 matches: the match of the second copy is left out", saved)
	}
}

func testDuplicateBatch(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 5)
	b := store.Batch{ID: "b1", Events: evs, Matches: []picket.Match{makeMatch("r", evs[2])}}
	first := save(t, s, b)[0]
	if first.Stored != 5 || first.Matches != 1 || len(first.Opened) != 1 || first.DuplicateBatch {
		t.Fatalf("first: %+v", first)
	}
	for id, want := range map[string]bool{"b1": true, "b2": false, "": false} {
		if got := must[bool](t)(s.Saved(t.Context(), id)); got != want {
			t.Errorf("batch %q is saved: %t, want %t", id, got, want)
		}
	}
	before := must[store.Totals](t)(s.Totals(t.Context()))
	checkEqual(t, "again", save(t, s, b), []store.SaveResult{{DuplicateBatch: true}})
	b.Events = plainEvents(t, 5, 6) // a batch is its ID
	checkEqual(t, "with other events", save(t, s, b), []store.SaveResult{{DuplicateBatch: true}})
	checkEqual(t, "twice in one call", save(t, s, store.Batch{ID: "b2", Events: plainEvents(t, 6, 8)}, store.Batch{ID: "b2", Events: plainEvents(t, 6, 8)}),
		[]store.SaveResult{{Stored: 2}, {DuplicateBatch: true}})
	after := must[store.Totals](t)(s.Totals(t.Context()))
	if after.Stored != before.Stored+2 || after.Duplicate != before.Duplicate || after.Matches != before.Matches {
		t.Errorf("totals went from %+v to %+v", before, after)
	}
	save(t, s, store.Batch{ID: "empty"})
	checkEqual(t, "an empty batch again", save(t, s, store.Batch{ID: "empty"}), []store.SaveResult{{DuplicateBatch: true}})
}

func testSaveSeveralBatches(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 40)
	checkEqual(t, "nothing", save(t, s), []store.SaveResult{})
	checkEqual(t, "saved", save(t, s,
		store.Batch{ID: "b1", Events: evs[:10]},
		store.Batch{ID: "b2", Events: evs[5:30]},
		store.Batch{ID: "b3", Events: evs[30:]},
	), []store.SaveResult{{Stored: 10}, {Stored: 20, Duplicate: 5}, {Stored: 10}})
	checkEqual(t, "events", eventIDs(searchAll(t, s, store.EventQuery{})), idsNewestFirst(evs))
}

func testRefuseBatchWithoutID(t *testing.T, s store.Store) {
	_, err := s.Save(t.Context(), store.Batch{Events: plainEvents(t, 0, 1)})
	checkError(t, "a batch without id", err, picket.ErrInvalid)
}

func testConcurrentSaves(t *testing.T, s store.Store) {
	const writers, each, size = 8, 4, 10
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range each {
				lo := (w*each + i) * size
				b := store.Batch{ID: fmt.Sprint("batch-", lo), Events: plainEvents(t, lo, lo+size)}
				b.Matches = []picket.Match{makeMatch("r", b.Events[0])}
				saved, err := s.Save(t.Context(), b)
				if err != nil || saved[0].Stored != size || saved[0].Matches != 1 {
					t.Errorf("Save: %+v, %v", saved, err)
				}
				if _, err := s.SearchEvents(t.Context(), store.EventQuery{Where: store.NewTextTerm("process")}); err != nil {
					t.Errorf("SearchEvents: %v", err)
				}
			}
		})
	}
	work.Wait()
	seen := make(map[string]bool)
	for _, ev := range searchAll(t, s, store.EventQuery{}) {
		if seen[ev.ID] {
			t.Errorf("event %s is stored twice", ev.ID)
		}
		seen[ev.ID] = true
	}
	if len(seen) != writers*each*size {
		t.Errorf("%d events, want %d", len(seen), writers*each*size)
	}
	var count int64
	for _, a := range must[store.AlertPage](t)(s.Alerts(t.Context(), store.AlertQuery{})).Alerts {
		count += a.Count
	}
	if count != writers*each {
		t.Errorf("alerts count %d matches, want %d", count, writers*each)
	}
}

// testConcurrentDuplicates saves the same events in different batches, and each
// batch twice, concurrently.
func testConcurrentDuplicates(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 60)
	var mu sync.Mutex
	var sum store.SaveResult
	duplicateBatches := 0
	var work sync.WaitGroup
	for w := range 12 {
		b := store.Batch{ID: fmt.Sprint("batch-", w/2), Events: evs}
		for _, ev := range evs[:3] {
			b.Matches = append(b.Matches, makeMatch("r", ev))
		}
		work.Go(func() {
			saved, err := s.Save(t.Context(), b)
			if err != nil {
				t.Errorf("Save: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sum.Stored += saved[0].Stored
			sum.Duplicate += saved[0].Duplicate
			sum.Matches += saved[0].Matches
			if saved[0].DuplicateBatch {
				duplicateBatches++
			}
			// What this call has returned is durable, whichever call stored it.
			if page, err := s.SearchEvents(t.Context(), store.EventQuery{Limit: len(evs)}); err != nil || len(page.Events) != len(evs) {
				t.Errorf("after Save: %d events, %v", len(page.Events), err)
			}
		})
	}
	work.Wait()
	checkEqual(t, "sums", sum, store.SaveResult{Stored: 60, Duplicate: 5 * 60, Matches: 3})
	if duplicateBatches != 6 {
		t.Errorf("%d duplicate batches, want 6", duplicateBatches)
	}
	checkEqual(t, "events", eventIDs(searchAll(t, s, store.EventQuery{})), idsNewestFirst(evs))
}

func testTotals(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 10)
	raw := int64(0)
	for _, ev := range evs {
		raw += int64(len(ev.Raw))
	}
	save(t, s, store.Batch{ID: "b1", Events: evs, Matches: []picket.Match{makeMatch("r", evs[0]), makeMatch("r2", evs[0])}})
	save(t, s, store.Batch{ID: "b2", Events: evs[:4]})
	got := must[store.Totals](t)(s.Totals(t.Context()))
	if got.DiskBytes <= 0 {
		t.Errorf("disk bytes %d", got.DiskBytes)
	}
	got.DiskBytes = 0
	checkEqual(t, "totals", got, store.Totals{Stored: 10, Duplicate: 4, Matches: 2, Events: 10, RawBytes: raw})
}

func testMinuteCounts(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 180) // three minutes
	for i := range evs {
		if i%3 == 0 {
			evs[i].Type = "dns_query"
		}
	}
	save(t, s, store.Batch{ID: "b1", Events: evs[:100]}, store.Batch{ID: "b2", Events: evs[100:]})
	save(t, s, store.Batch{ID: "b3", Events: evs, Matches: []picket.Match{makeMatch("r", evs[0])}})
	minutes := must[[]store.MinuteCounts](t)(s.Activity(t.Context(), startTime, startTime.Add(3*time.Minute)))
	got := make(map[time.Time]map[string]int64)
	for _, m := range minutes {
		if len(m.Events) > 0 {
			got[m.Start] = m.Events
		}
	}
	want := map[time.Time]map[string]int64{ // received a minute after
		startTime.Add(1 * time.Minute): {"process": 40, "dns_query": 20},
		startTime.Add(2 * time.Minute): {"process": 40, "dns_query": 20},
	}
	checkEqual(t, "minutes", got, want)

	opened := int64(0)
	b := store.Batch{ID: "b4", Events: plainEvents(t, 200, 201)}
	b.Matches = []picket.Match{makeMatch("r", b.Events[0]), makeMatch("r2", b.Events[0])}
	save(t, s, b)
	for _, m := range must[[]store.MinuteCounts](t)(s.Activity(t.Context(), time.Time{}, time.Time{})) {
		opened += m.Alerts["high"]
	}
	if opened != 2 {
		t.Errorf("%d alerts opened, want 2", opened)
	}
}
