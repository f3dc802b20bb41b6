package cache_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/cache"
	"github.com/picket-edr/picket/internal/cache/cachetest"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

func TestMemory(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) cache.Cache { return cache.NewMemory(time.Now) })
}

// A CachedStore returns the statistics of the store, and triage shows in them at
// once.
func TestCachedStore(t *testing.T) {
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	c := cache.NewCachedStore(s, cache.NewMemory(func() time.Time { return now }))
	open := func() int64 {
		t.Helper()
		counts, err := c.AlertCounts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return counts.ByStatus[picket.StatusOpen]
	}
	save := func(id string) store.SaveResult {
		t.Helper()
		ev := picket.Event{ID: id, AgentID: "a", Host: "h", Type: "t", Received: now, Time: now, Raw: []byte("{}")}
		m := picket.Match{ID: picket.MatchID(id, id), RuleID: id, EventID: id, AgentID: "a", Host: "h", Title: id, Time: now}
		saved, err := s.Save(t.Context(), store.Batch{ID: id, Events: []picket.Event{ev}, Matches: []picket.Match{m}})
		if err != nil {
			t.Fatal(err)
		}
		return saved[0]
	}
	first := save("one")
	if open() != 1 {
		t.Error("the first alert is not counted")
	}
	save("two")
	if open() != 1 {
		t.Error("the count is not from the cache")
	}
	closed := picket.StatusResolved
	if _, err := c.UpdateAlert(t.Context(), first.Opened[0].ID, store.AlertUpdate{Status: &closed, At: now}); err != nil {
		t.Fatal(err)
	}
	save("three")
	if open() != 2 {
		t.Error("triage does not show in the count")
	}
	totals, err := c.Totals(t.Context())
	if err != nil || totals.Stored != 3 {
		t.Errorf("totals are %+v, %v", totals, err)
	}
	now = now.Add(time.Minute)
	if open() != 2 {
		t.Error("the count does not expire")
	}
	total, _, err := c.CountHosts(t.Context(), now)
	minutes, err2 := c.Activity(t.Context(), now.Add(-time.Hour), now.Add(time.Hour))
	if total != 1 || err != nil || len(minutes) != 1 || err2 != nil || minutes[0].Events["t"] != 3 {
		t.Errorf("%d hosts, %v, %v, %v", total, err, minutes, err2)
	}
}
