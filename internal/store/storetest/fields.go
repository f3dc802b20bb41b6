package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/store"
)

// testFieldNames checks that the names of all fields are listed, under Sigma's names and
// as paths, and that a listing ends early.
func testFieldNames(t *testing.T, s store.Store) {
	evs := searchedEvents(t)
	save(t, s, store.Batch{ID: "b1", Events: evs[:5]})
	save(t, s, store.Batch{ID: "b2", Events: evs[5:]})
	var want []string
	var view store.EventView
	for i := range evs {
		for _, f := range evs[i].Fields {
			want = append(want, f.Name)
		}
		view.Reset(&evs[i])
		for _, leaf := range view.Leaves() {
			want = append(want, leaf.Path.Name)
		}
	}
	var got []string
	complete, err := s.EachFieldNames(t.Context(), func(names []string) bool {
		got = append(got, names...)
		return true
	})
	sorted := func(names []string) []string {
		slices.Sort(names)
		return slices.Compact(slices.DeleteFunc(names, store.IsBuiltinField)) // those need not be listed
	}
	checkEqual(t, "error", err, nil)
	checkEqual(t, "complete", complete, true)
	checkEqual(t, "names", sorted(got), sorted(want))

	calls := 0
	_, err = s.EachFieldNames(t.Context(), func([]string) bool { calls++; return false })
	checkEqual(t, "error", err, nil)
	checkEqual(t, "calls until false", calls, 1)

	notes, err := store.UnknownFieldNotes(t.Context(), s, []string{"image", "Image", "host", "time", "nothing.at.all", "image"}, nil)
	checkEqual(t, "error", err, nil)
	checkEqual(t, "notes", notes, []string{"image: no stored event has this field; did you mean Image?", "nothing.at.all: no stored event has this field"})
}

// testCountEvents compares counts with those of the events one by one.
func testCountEvents(t *testing.T, s store.Store) {
	evs := searchedEvents(t)
	save(t, s, store.Batch{ID: "b1", Events: evs[:5]})
	save(t, s, store.Batch{ID: "b2", Events: evs[5:]})
	for _, fields := range [][]string{{"Image"}, {store.EventTypeField, "host"}, {"tags", "nothing"}, {"a", "x", "user.id", "agent_id"}, {"long"}, {"time"}, {"event_id", "received"}, {"process.args", "event_type"}} {
		for _, text := range queryTexts {
			where, err := store.ParseQuery(text)
			checkEqual(t, "error of "+text, err, nil)
			q := store.EventQuery{Where: where, Since: startTime.Add(time.Second), Limit: 1}
			counts, err := s.CountEvents(t.Context(), q, fields)
			checkEqual(t, "error", err, nil)
			want := store.NewEventCounts(fields)
			var view store.EventView
			for i := range evs {
				view.Reset(&evs[i])
				if !evs[i].Time.Before(q.Since) && (where == nil || where.Match(&view)) {
					want.CountFieldValues(&view)
				}
			}
			checkEqual(t, "events that "+text+" selects", counts.Events, want.Events)
			checkEqual(t, fmt.Sprint("counts of ", fields, " with ", text), counts.Top(0), want.Top(0))
		}
	}
}
