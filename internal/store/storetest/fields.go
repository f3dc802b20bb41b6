package storetest

import (
	"slices"
	"testing"

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

	counts, err := store.CountEvents(t.Context(), s, store.EventQuery{}, []string{store.EventTypeField})
	checkEqual(t, "error", err, nil)
	checkEqual(t, "events", counts.Events, int64(len(evs)))
	checkEqual(t, "most frequent type", counts.Top(1)[0].Values[0].Text, "process_creation")
}
