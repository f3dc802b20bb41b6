package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/sigma"
)

// simple returns event number n.
func simple(n int) picket.Event {
	at := time.Date(2026, 8, 1, 0, 0, n, 0, time.UTC)
	return picket.Event{ID: madeID(n), Sender: "agent:agent", AgentID: "agent", Host: "host", Type: "process", OS: "linux", Time: at, Received: at,
		Raw:    fmt.Appendf(nil, `{"n":%d,"name":"worker %d"}`, n, n%7),
		Fields: []sigma.Field{{Name: "n", Value: sigma.Value{Kind: sigma.Number, Text: fmt.Sprint(n)}}, {Name: "Name", Value: sigma.Value{Kind: sigma.String, Text: fmt.Sprintf("worker %d", n%7)}}}}
}

func simples(lo, hi int) []picket.Event {
	var out []picket.Event
	for n := lo; n < hi; n++ {
		out = append(out, simple(n))
	}
	return out
}

func mustSave(t testing.TB, s store.Store, id string, evs []picket.Event) store.SaveResult {
	t.Helper()
	saved, err := s.Save(t.Context(), store.Batch{ID: id, Events: evs})
	if err != nil {
		t.Fatal(err)
	}
	return saved[0]
}

func count(t testing.TB, s store.Store, query string) int {
	t.Helper()
	where, err := store.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.SearchEvents(t.Context(), store.EventQuery{Where: where, Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Events)
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	s, err := sqlitestore.Open(path, sqlitestore.Options{BlockEvents: 100})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		mustSave(t, s, fmt.Sprint("b", i), simples(i*30, i*30+30))
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(context.Background(), store.Batch{ID: "late"}); !errors.Is(err, picket.ErrUnavailable) {
		t.Errorf("Save after Close: %v", err)
	}
	s = open(t, path, sqlitestore.Options{BlockEvents: 100})
	if got := mustSave(t, s, "again", simples(0, 310)); got.Stored != 10 || got.Duplicate != 300 {
		t.Errorf("after reopening: %+v, want 10 new events and 300 duplicates", got)
	}
	if n := count(t, s, `"worker 3"`); n != 44 {
		t.Errorf("%d events found, want 44", n)
	}
}

func TestDedupeWindow(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{DedupeWindowEvents: 300})
	for i := range 20 {
		mustSave(t, s, fmt.Sprint("b", i), simples(i*100, i*100+100))
	}
	if got := mustSave(t, s, "recent", simples(1700, 2000)); got.Duplicate != 300 {
		t.Errorf("the last 300 events: %+v, want all to be duplicates", got)
	}
	if got := mustSave(t, s, "old", simples(0, 100)); got.Stored != 100 {
		t.Errorf("events from before the window: %+v, want all to be stored", got)
	}
}

// Events that are saved one by one must not leave a block each.
func TestSingleEvents(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path, sqlitestore.Options{BlockEvents: 512})
	saveAll(t, s, func() (out []store.Batch) {
		for n := range 1200 {
			out = append(out, store.Batch{ID: fmt.Sprint(n), Events: simples(n, n+1)})
		}
		return out
	}(), 8)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := sqlitefile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var blocks, events int
	if err := db.QueryRow("SELECT count(*), sum(n) FROM blocks").Scan(&blocks, &events); err != nil {
		t.Fatal(err)
	}
	if blocks > 4 || events != 1200 {
		t.Errorf("%d events in %d blocks, want 1200 in at most 4", events, blocks)
	}
	if n := count(t, s, "Name=worker*"); n != 1200 {
		t.Errorf("%d events found by a field, want 1200", n)
	}
}

// Two stores on one file are like two processes: each has its own connections and
// its own deduper.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	stores := []*sqlitestore.Store{
		open(t, path, sqlitestore.Options{BlockEvents: 64}),
		open(t, path, sqlitestore.Options{BlockEvents: 64}),
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	stored, duplicateBatches := 0, 0
	for w := range 4 {
		work.Go(func() {
			for i := range 25 {
				// Each batch is saved by both stores, and overlaps the next.
				saved, err := stores[w%2].Save(context.Background(), store.Batch{ID: fmt.Sprint(w/2, "-", i), Events: simples(i*20, i*20+40)})
				if err != nil {
					t.Errorf("Save: %v", err)
					return
				}
				mu.Lock()
				stored += saved[0].Stored
				if saved[0].DuplicateBatch {
					duplicateBatches++
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	if n := count(t, stores[0], ""); n != 520 || stored != 520 || duplicateBatches != 50 {
		t.Errorf("%d events found, %d reported as stored, %d duplicate batches; want 520, 520 and 50", n, stored, duplicateBatches)
	}
	if n := count(t, stores[1], "n=*"); n != 520 {
		t.Errorf("%d events found by a field, want 520", n)
	}
}

// Two processes concurrently save the same events in batches with different ids, as
// they come from agents that retry.
func TestTwoProcessesSameEvents(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	stores := []*sqlitestore.Store{open(t, path, sqlitestore.Options{}), open(t, path, sqlitestore.Options{})}
	const rounds, sets, each = 40, 8, 5
	for i := range rounds {
		var work sync.WaitGroup
		for w := range 2 * sets {
			work.Go(func() {
				from := (i*sets + w/2) * each
				if _, err := stores[w%2].Save(context.Background(), store.Batch{ID: fmt.Sprint(i, "-", w), Events: simples(from, from+each)}); err != nil {
					t.Errorf("Save: %v", err)
				}
			})
		}
		work.Wait()
	}
	if n := count(t, stores[0], ""); n != rounds*sets*each {
		t.Errorf("%d events, want %d", n, rounds*sets*each)
	}
}

// Pages stay stable while blocks are merged.
func TestSearchWhileMerging(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{BlockEvents: 64})
	for i := range 40 {
		mustSave(t, s, fmt.Sprint("b", i), simples(i*10, i*10+10))
	}
	where, err := store.ParseQuery("Name=worker* and n=*")
	if err != nil {
		t.Fatal(err)
	}
	q := store.EventQuery{Where: where, Limit: 7}
	for want := 399; want >= 0; {
		page, err := s.SearchEvents(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			if ev.ID != madeID(want) {
				t.Fatalf("event %s, want number %d", ev.ID, want)
			}
			want--
		}
		if q.Cursor = page.Next; (page.Next == "") != (want < 0) {
			t.Fatalf("next page %q with %d events to come", page.Next, want+1)
		}
		mustSave(t, s, fmt.Sprint("later", want), simples(1000+want*10, 1000+want*10+10))
	}
}

// If a Save is given up, another one that depends on it must store the events
// itself.
func TestFailedSave(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path, sqlitestore.Options{})
	var work sync.WaitGroup
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		work.Go(func() { s.Save(ctx, store.Batch{ID: fmt.Sprint("a", i), Events: simples(i*50, i*50+50)}) })
		work.Go(cancel)
		work.Go(func() {
			if _, err := s.Save(t.Context(), store.Batch{ID: fmt.Sprint("b", i), Events: simples(i*50, i*50+50)}); err != nil {
				t.Errorf("Save: %v", err)
			}
		})
	}
	work.Wait()
	if n := count(t, s, ""); n != 1000 {
		t.Errorf("%d events, want 1000", n)
	}
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	db, err := sqlitefile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := sqlitestore.Open(path, sqlitestore.Options{}); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer file: %v", err)
	}
}

// A file of an older picket gets the tables that are missing and keeps its content.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path, sqlitestore.Options{})
	saveAll(t, s, inBatches([]picket.Event{simple(1)}), 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sqlitefile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("DROP TABLE observations; DROP TABLE follower; DROP TABLE published_rules; DROP TABLE workers; DROP INDEX alerts_status; CREATE INDEX alerts_status ON alerts (status, last_seen); ALTER TABLE audit DROP COLUMN hash; ALTER TABLE audit DROP COLUMN previous; ALTER TABLE matches DROP COLUMN event_namespace; ALTER TABLE counters DROP COLUMN conflicting; DROP TABLE secrets; DROP INDEX alerts_closed; DROP TABLE hosts; CREATE TABLE hosts (name TEXT PRIMARY KEY, agent_id TEXT NOT NULL, os TEXT NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, events INTEGER NOT NULL, alerts INTEGER NOT NULL, folded TEXT NOT NULL) WITHOUT ROWID; CREATE INDEX hosts_seen ON hosts (last_seen, name); ALTER TABLE tokens DROP COLUMN host; DROP TABLE damaged_blocks; PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	s = open(t, path, sqlitestore.Options{})
	if ok, err := s.AcquireCorrelationLease(t.Context(), "a", time.Minute); !ok || err != nil {
		t.Errorf("lease: %t, %v", ok, err)
	}
	if n := count(t, s, ""); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestPruneShrinksFile(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{})
	var evs []picket.Event
	for n := range 20000 {
		ev := simple(n)
		ev.Raw = fmt.Appendf(nil, `{"n":%d,"noise":"%s%s"}`, n, madeID(n), madeID(n+1e6))
		ev.Fields = nil
		evs = append(evs, ev)
	}
	saveAll(t, s, inBatches(evs), 2)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := s.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.PruneEvents(t.Context(), store.Retention{Now: evs[len(evs)-1].Received, MaxAge: 2000*time.Second - 1})
	if err != nil || n != 18000 {
		t.Fatalf("%d events pruned, %v; want 18000", n, err)
	}
	after, err := s.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Events != 2000 || after.DiskBytes > before.DiskBytes*7/10 {
		t.Errorf("totals changed from %+v to %+v, but the file should shrink", before, after)
	}
	if n := count(t, s, ""); n != 2000 {
		t.Errorf("%d events left, want 2000", n)
	}
}

// Events may have more fields than a block has columns.
func TestManyFields(t *testing.T) {
	t.Parallel()
	s := compactingStore{open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{NoBackground: true})}
	var evs []picket.Event
	for n := range 50 {
		ev := simple(n)
		ev.Raw = []byte("{")
		for k := range 20 {
			ev.Raw = fmt.Appendf(ev.Raw, `"field%d":"value %d",`, n*20+k, k)
		}
		ev.Raw = append(ev.Raw, `"last":1}`...)
		evs = append(evs, ev)
	}
	mustSave(t, s, "b", evs)
	for query, want := range map[string]int{"field3=value*": 1, "field999=value*": 1, `field990="VALUE 10"`: 1, "field990~alu": 1, "field1001=*": 0, "Name=*": 50, `not field999=*`: 49} {
		if n := count(t, s, query); n != want {
			t.Errorf("%s: %d events, want %d", query, n, want)
		}
	}
}
