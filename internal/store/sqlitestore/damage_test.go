package sqlitestore_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// pageSize is that of the store's file.
const pageSize = 4096

// damageOptions are those of a server whose blocks are small.
func damageOptions(log *testenv.Buffer) sqlitestore.Options {
	return sqlitestore.Options{BlockEvents: 200, Logger: slog.New(slog.NewTextHandler(log, nil))}
}

// A content is what a store answers.
type content struct {
	events map[string]string // by id
	alerts map[string]string
	totals store.Totals
}

// fillForDamage makes a store with indexed and fresh blocks, alerts and hosts, and returns
// its file and what it answers.
func fillForDamage(t *testing.T) ([]byte, content) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path, sqlitestore.Options{BlockEvents: 200, NoBackground: true, MaxNewAlerts: -1})
	random := rand.New(rand.NewPCG(1, 2))
	fill := func(lo, hi int) {
		for ; lo < hi; lo += 50 {
			b := store.Batch{ID: fmt.Sprint("batch ", lo), Events: simples(lo, lo+50)}
			for i := range b.Events {
				ev := &b.Events[i]
				ev.Host = fmt.Sprint("host ", i%5)
				ev.Raw = fmt.Appendf(nil, `{"n":%d,"name":"worker %d","noise":"%x"}`, lo+i, (lo+i)%7, noise(random))
			}
			for i := range 3 {
				b.Matches = append(b.Matches, makeDamageMatch(fmt.Sprint("rule ", lo+i), b.Events[i]))
			}
			_, err := s.Save(t.Context(), b)
			testenv.Check(t, err)
		}
	}
	fill(0, 1000)
	testenv.Check(t, s.Compact(t.Context()))
	fill(1000, 1300)
	want := answers(t, s)
	testenv.Check(t, s.Close())
	if len(want.events) != 1300 || len(want.alerts) != 78 {
		t.Fatalf("%d events, %d alerts", len(want.events), len(want.alerts))
	}
	file, err := os.ReadFile(path)
	testenv.Check(t, err)
	return file, want
}

func noise(random *rand.Rand) []byte {
	out := make([]byte, 200)
	for i := range out {
		out[i] = byte(random.Int())
	}
	return out
}

func makeDamageMatch(rule string, ev picket.Event) picket.Match {
	return picket.Match{ID: picket.MatchID(rule, ev.Key()), RuleID: rule, Title: strings.Repeat(rule+" ", 20), Level: sigma.High, EventID: ev.ID,
		EventNamespace: ev.Namespace(), AgentID: ev.AgentID, Host: ev.Host, Time: ev.Time}
}

// answers lists everything, in pages.
func answers(t *testing.T, s *sqlitestore.Store) content {
	t.Helper()
	c := content{events: make(map[string]string), alerts: make(map[string]string)}
	for cursor := ""; ; {
		page, err := s.SearchEvents(t.Context(), store.EventQuery{Limit: 300, Cursor: cursor})
		testenv.Check(t, err)
		for _, ev := range page.Events {
			raw := ev.Raw
			ev.Raw = nil // printed as numbers otherwise
			c.events[ev.ID] = fmt.Sprintf("%+v %s", ev, raw)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for cursor := ""; ; {
		page, err := s.Alerts(t.Context(), store.AlertQuery{Limit: 50, Cursor: cursor})
		testenv.Check(t, err)
		for _, a := range page.Alerts {
			c.alerts[a.ID] = fmt.Sprintf("%+v", a)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	_, err := s.Hosts(t.Context(), "", 100, "")
	testenv.Check(t, err)
	_, err = s.AlertCounts(t.Context())
	testenv.Check(t, err)
	_, err = s.Activity(t.Context(), time.Time{}, time.Time{})
	testenv.Check(t, err)
	where, err := store.ParseQuery(`"worker 3"`)
	testenv.Check(t, err)
	found, err := s.SearchEvents(t.Context(), store.EventQuery{Where: where, Limit: 10000})
	testenv.Check(t, err)
	n := 0
	for _, ev := range c.events {
		if strings.Contains(ev, "worker 3") {
			n++
		}
	}
	if len(found.Events) != n {
		t.Errorf("a search finds %d events of %d", len(found.Events), n)
	}
	c.totals, err = s.Totals(t.Context())
	testenv.Check(t, err)
	return c
}

// missing returns how many values of want are not in got. Every other must be equal.
func missing(t *testing.T, want, got map[string]string) int {
	t.Helper()
	for id, value := range got {
		if want[id] != value {
			t.Fatalf("wrong value of %s:\n%s\nwant:\n%s", id, value, want[id])
		}
	}
	return len(want) - len(got)
}

// A changed bit anywhere in the file changes no answer.
func TestChangedBit(t *testing.T) {
	t.Parallel()
	file, want := fillForDamage(t)
	path := filepath.Join(t.TempDir(), "events.db")
	random := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		damaged := append([]byte(nil), file...)
		for page := range len(file) / pageSize { // one bit in many pages
			if random.IntN(2) == 0 {
				damaged[page*pageSize+random.IntN(pageSize)] ^= 1 << random.IntN(8)
			}
		}
		testenv.Check(t, os.WriteFile(path, damaged, 0o600))
		var log testenv.Buffer
		s, err := sqlitestore.Open(path, damageOptions(&log))
		testenv.Check(t, err)
		got := answers(t, s)
		if missing(t, want.events, got.events)+missing(t, want.alerts, got.alerts) > 0 || got.totals.DamagedBlocks > 0 {
			t.Fatalf("%d events, %d alerts, %+v", len(got.events), len(got.alerts), got.totals)
		}
		testenv.Check(t, s.Close())
	}
}

// Whatever page is unreadable: a store that opens answers with everything but the events
// of damaged blocks, and one that does not open names the damage. After Salvage all that
// the page does not have is there.
func TestDamagedPage(t *testing.T) {
	t.Parallel()
	file, want := fillForDamage(t)
	random := rand.New(rand.NewPCG(1, 2))
	refused, setAside := 0, 0
	for page := range len(file) / pageSize {
		if page >= 4 && random.IntN(8) > 0 {
			continue
		}
		damaged := append([]byte(nil), file...)
		clear(damaged[page*pageSize+random.IntN(pageSize/2):][:pageSize/2])
		path := filepath.Join(t.TempDir(), "events.db")
		testenv.Check(t, os.WriteFile(path, damaged, 0o600))
		var log testenv.Buffer
		s, err := sqlitestore.Open(path, damageOptions(&log))
		lost := 0
		if err != nil {
			if refused++; !sqlitefile.IsDamage(err) {
				t.Fatalf("page %d: %v", page+1, err)
			}
		} else {
			answers(t, s)
			testenv.Check(t, s.Compact(t.Context()))
			testenv.Until(t, "damage is recorded", func() bool {
				got := answers(t, s)
				return int64(len(got.events)) == got.totals.Events
			})
			got := answers(t, s)
			lost = missing(t, want.events, got.events)
			if n := missing(t, want.alerts, got.alerts); n > 0 || int64(lost) != got.totals.DamagedEvents {
				t.Fatalf("page %d: %d events and %d alerts missing, %+v", page+1, lost, n, got.totals)
			}
			if lost > 0 {
				setAside++
			}
			if n := strings.Count(log.String(), "set aside"); int64(n) != got.totals.DamagedBlocks {
				t.Errorf("page %d: %d blocks logged, %+v", page+1, n, got.totals)
			}
			testenv.Check(t, s.Close())
		}
		repaired := filepath.Join(t.TempDir(), "repaired.db")
		report, err := sqlitestore.Salvage(t.Context(), path, repaired)
		testenv.Check(t, err)
		s = open(t, repaired, sqlitestore.Options{BlockEvents: 200})
		got := answers(t, s)
		after := missing(t, want.events, got.events)
		missing(t, want.alerts, got.alerts)
		if after > 500 || int64(after) != report.LostEvents || got.totals.Events != int64(len(got.events)) || got.totals.DamagedBlocks > 0 {
			t.Fatalf("page %d: %d events lost, %d after the repair; %+v; %+v", page+1, lost, after, report, got.totals)
		}
		mustSave(t, s, "more", simples(5000, 5010))
		testenv.Check(t, s.Close())
	}
	if refused == 0 || setAside == 0 {
		t.Errorf("%d starts refused, %d times blocks set aside", refused, setAside)
	}
}

// Of a file that was cut, what is before the cut is saved.
func TestCutFile(t *testing.T) {
	t.Parallel()
	file, want := fillForDamage(t)
	for _, share := range []float64{0.99, 0.8} {
		path := filepath.Join(t.TempDir(), "events.db")
		testenv.Check(t, os.WriteFile(path, file[:int(share*float64(len(file)))], 0o600))
		if _, err := sqlitestore.Open(path, sqlitestore.Options{}); !sqlitefile.IsDamage(err) {
			t.Errorf("%v of the file: %v", share, err)
		}
		repaired := filepath.Join(t.TempDir(), "repaired.db")
		_, err := sqlitestore.Salvage(t.Context(), path, repaired)
		testenv.Check(t, err)
		got := answers(t, open(t, repaired, sqlitestore.Options{}))
		lost := missing(t, want.events, got.events)
		missing(t, want.alerts, got.alerts)
		if float64(len(got.events)) < (share-0.4)*float64(len(want.events)) {
			t.Errorf("%v of the file: %d events lost of %d", share, lost, len(want.events))
		}
	}
}

// Retention deletes what is old although something of it is damaged.
func TestRetentionOfDamaged(t *testing.T) {
	t.Parallel()
	file, _ := fillForDamage(t)
	random := rand.New(rand.NewPCG(3, 4))
	for range 5 {
		damaged := append([]byte(nil), file...)
		page := 40 + random.IntN(len(file)/pageSize-60)
		clear(damaged[page*pageSize:][:pageSize])
		path := filepath.Join(t.TempDir(), "events.db")
		testenv.Check(t, os.WriteFile(path, damaged, 0o600))
		s, err := sqlitestore.Open(path, sqlitestore.Options{BlockEvents: 200})
		if err != nil {
			continue
		}
		now := simple(1300).Received
		_, err = s.PruneEvents(context.Background(), store.Retention{MaxAge: 700 * time.Second, Now: now})
		testenv.Check(t, err)
		got := answers(t, s)
		if len(got.events) > 700 || len(got.events) < 400 {
			t.Errorf("page %d: %d events, %+v", page+1, len(got.events), got.totals)
		}
		testenv.Check(t, s.Close())
	}
}
