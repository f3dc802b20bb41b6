package mongostore

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/testenv"
)

// Names become keys of documents, and names again.
func TestNamesAsKeys(t *testing.T) {
	for _, name := range []string{"", "process", "a.b", "$x", "%", "%2E", "a\x00b", "☃", "(other)"} {
		key := nameToKey(name)
		doc, err := bson.Marshal(bson.M{key: 1})
		testenv.Check(t, err)
		if key == "" || keyToName(key) != name || bson.Raw(doc).Lookup(key).AsInt64() != 1 {
			t.Errorf("%q becomes %q, and that %q", name, key, keyToName(key))
		}
	}
}

// The slots of past minutes are merged, also those that were merged before, and the counts
// stay what they were.
func TestMergeMinutes(t *testing.T) {
	s, err := Open(t.Context(), mongotest.Start(t).Database(t), Options{NoBackground: true})
	testenv.Check(t, err)
	t.Cleanup(func() { s.Close() })
	now := time.Now().UTC().Truncate(time.Minute)
	saved := 0
	save := func(batches int, received time.Time) {
		for range batches {
			saved++
			ev := picket.Event{ID: fmt.Sprint(saved), AgentID: "a", Host: "h", Type: fmt.Sprint("type.", saved%3), Time: received, Received: received, Raw: []byte("{}")}
			_, err := s.Save(t.Context(), store.Batch{ID: ev.ID, Events: []picket.Event{ev}})
			testenv.Check(t, err)
		}
	}
	counters := func() map[string]bool {
		docs, err := find[counterDoc](t.Context(), s.counters, idsFrom(minutePrefix))
		testenv.Check(t, err)
		ids := make(map[string]bool)
		for _, d := range docs {
			ids[d.ID] = true
		}
		return ids
	}
	old, older := now.Add(-time.Hour), now.Add(-2*time.Hour)
	save(20, old)
	save(20, older)
	save(1, now) // stays as it is
	for range 2 {
		before, err := s.Activity(t.Context(), time.Time{}, time.Time{})
		testenv.Check(t, err)
		testenv.Check(t, s.mergeMinutes(t.Context(), now))
		after, err := s.Activity(t.Context(), time.Time{}, time.Time{})
		testenv.Check(t, err)
		if d := cmp.Diff(before, after); d != "" || len(after) != 3 {
			t.Errorf("%d minutes; counts before and after merging:\n%s", len(after), d)
		}
		ids := counters()
		maps.DeleteFunc(ids, func(id string, _ bool) bool { return id >= minuteCounterPrefix(now.UnixMicro()) })
		want := map[string]bool{minuteCounterPrefix(old.UnixMicro()) + mergedSlot: true, minuteCounterPrefix(older.UnixMicro()) + mergedSlot: true}
		if d := cmp.Diff(want, ids); d != "" {
			t.Errorf("counters of past minutes (-want +got):\n%s", d)
		}
		save(5, old) // late events
	}
}

// A client's connections to a server are bounded, unless the URI says how many.
func TestMaxConnections(t *testing.T) {
	for params, want := range map[string]uint64{"": maxConnections, "?maxPoolSize=7": 7} {
		o, err := clientOptions("mongodb://127.0.0.1:1/x" + params)
		if err != nil || o.MaxPoolSize == nil || *o.MaxPoolSize != want {
			t.Errorf("%q: %v, %v", params, o.MaxPoolSize, err)
		}
	}
}
