package sqlitestore_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// sent returns events with senders, of which two have each id.
func sent(lo, hi int) []picket.Event {
	evs := append(simples(lo, hi), simples(lo, hi)...)
	for i := range evs {
		evs[i].Sender = []string{"agent:a", "agent:b"}[i/(hi-lo)]
	}
	return evs
}

// withOtherBytes returns the events with every third changed, and which those are.
func withOtherBytes(evs []picket.Event) (changed []picket.Event, which []int) {
	changed = slices.Clone(evs)
	for i := 0; i < len(evs); i += 3 {
		changed[i].Raw = append([]byte(" "), evs[i].Raw...)
		which = append(which, i)
	}
	return changed, which
}

func checkConflicts(t *testing.T, s store.Store, id string, evs []picket.Event) {
	t.Helper()
	changed, want := withOtherBytes(evs)
	for _, id := range []string{id + "-1", id + "-2"} { // the second time, the hashes are known
		saved := mustSave(t, s, id, changed)
		if saved.Stored != 0 || saved.Duplicate != len(evs) || !slices.Equal(saved.Conflicting, want) {
			t.Errorf("%s: %d stored, %d duplicate, conflicting %v, want none, %d, %v", id, saved.Stored, saved.Duplicate, saved.Conflicting, len(evs), want)
		}
	}
}

// After a restart, duplicates are compared with the bytes on disk: of fresh blocks,
// of indexed ones, and of those that pruning has made holes in.
func TestConflictsAfterReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	evs := sent(0, 300)
	s := open(t, path, sqlitestore.Options{NoBackground: true, BlockEvents: 100})
	var kept []picket.Event
	for i := range evs {
		if i%7 == 0 && i < 200 {
			evs[i].Received = evs[i].Received.Add(-24 * time.Hour)
			continue
		}
		kept = append(kept, evs[i])
	}
	mustSave(t, s, "old", evs[:400])
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustSave(t, s, "fresh", evs[400:])
	now := evs[1].Received.Add(time.Hour)
	if _, err := s.PruneEvents(t.Context(), store.Retention{MaxAge: 12 * time.Hour, Now: now}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, sqlitestore.Options{NoBackground: true, BlockEvents: 100})
	checkConflicts(t, s, "again", kept)
}

// An event that was deleted meanwhile cannot be compared, and is a plain duplicate.
func TestConflictWithDeletedEvent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	evs := sent(0, 10)
	s := open(t, path, sqlitestore.Options{NoBackground: true})
	mustSave(t, s, "b1", evs)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, sqlitestore.Options{NoBackground: true})
	if _, err := s.PruneEvents(t.Context(), store.Retention{MaxAge: time.Hour, Now: evs[9].Received.Add(48 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	changed, _ := withOtherBytes(evs)
	if saved := mustSave(t, s, "b2", changed); saved.Duplicate != len(evs) || saved.Conflicting != nil {
		t.Errorf("saved %+v", saved)
	}
}

// What another process has stored is compared with, too.
func TestConflictsOfTwoProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	a, b := open(t, path, sqlitestore.Options{NoBackground: true}), open(t, path, sqlitestore.Options{NoBackground: true})
	evs := sent(0, 50)
	mustSave(t, a, "a", evs)
	checkConflicts(t, b, "b", evs)
}
