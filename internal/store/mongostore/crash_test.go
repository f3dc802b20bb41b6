package mongostore_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/sigma"
)

var start = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// testBatch returns a batch of n events of one host. Every tenth matches a rule,
// and is observed for a correlation.
func testBatch(batch string, lo, n int) store.Batch {
	b := store.Batch{ID: batch}
	for i := lo; i < lo+n; i++ {
		at := start.Add(time.Duration(i) * time.Second)
		ev := picket.Event{ID: fmt.Sprintf("event-%06d", i), Sender: "agent:agent", AgentID: "agent", Host: "host", Type: "process", OS: "linux", Time: at, Received: at,
			Raw: fmt.Appendf(nil, `{"n":%d,"name":"process %d"}`, i, i)}
		b.Events = append(b.Events, ev)
		if i%10 == 0 {
			b.Matches = append(b.Matches, picket.Match{ID: picket.MatchID("rule", ev.Key()), RuleID: "rule", EventID: ev.ID, EventNamespace: ev.Namespace(), AgentID: "agent", Time: at,
				Title: "Rule", Level: sigma.High, Host: "host", Observed: map[string]string{"User": "u"}})
		}
	}
	return b
}

// An outcome is everything in a store that counts events, matches and alerts.
type outcome struct {
	Totals                  store.Totals
	Alerts                  int
	AlertMatches            int64 // as the alerts count them
	Matches, Observations   int
	Host                    store.Host
	MinuteEvents, Opened    int64 // as Activity counts them
	Status                  map[picket.AlertStatus]int64
	RuleAlerts, RuleMatches int64 // as AlertCounts counts them
}

func readOutcome(t *testing.T, s store.Store) outcome {
	t.Helper()
	ctx := t.Context()
	var o outcome
	var err, errs error
	join := func(err error) { errs = errors.Join(errs, err) }
	o.Totals, err = s.Totals(ctx)
	o.Totals.DiskBytes = 0
	join(err)
	page, err := s.Alerts(ctx, store.AlertQuery{})
	join(err)
	o.Alerts = len(page.Alerts)
	for _, a := range page.Alerts {
		o.AlertMatches += a.Count
	}
	matches, err := s.Matches(ctx, store.MatchQuery{Limit: 1000})
	join(err)
	o.Matches = len(matches.Matches)
	observations, _, err := s.Observations(ctx, 0, 1000)
	join(err)
	o.Observations = len(observations)
	o.Host, err = s.Host(ctx, store.HostKey{AgentID: "agent", Name: "host"})
	join(err)
	minutes, err := s.Activity(ctx, time.Time{}, time.Time{})
	join(err)
	for _, m := range minutes {
		o.MinuteEvents += m.Events["process"]
		o.Opened += m.Alerts["high"]
	}
	counts, err := s.AlertCounts(ctx)
	join(err)
	o.Status = counts.ByStatus
	for _, r := range counts.TopRules {
		o.RuleAlerts += r.Alerts
		o.RuleMatches += r.Matches
	}
	if errs != nil {
		t.Fatal(errs)
	}
	return o
}

var errCrashed = errors.New("died")

// If a process crashes before any of its writes, another one that saves the same
// batch again completes it, and nothing is counted twice.
func TestCrash(t *testing.T) {
	server := mongotest.Start(t)
	opt := mongostore.Options{NoBackground: true}
	batches := []store.Batch{testBatch("b1", 0, 40), testBatch("b2", 30, 40), testBatch("b3", 70, 5), testBatch("b4", 75, 30)}
	save := func(s store.Store, b store.Batch) error {
		_, err := s.Save(t.Context(), b)
		return err
	}
	reference := open(t, server.Database(t), opt)
	for _, b := range batches {
		if err := save(reference, b); err != nil {
			t.Fatal(err)
		}
	}
	want := readOutcome(t, reference)
	if want.Totals.Stored != 105 || want.Totals.Duplicate != 10 || want.AlertMatches != 11 || want.Matches != 11 || want.Observations != 11 || want.Alerts != 1 {
		t.Fatalf("without a crash: %+v", want)
	}
	for _, point := range []string{"batches", "alerts", "matches", "observations", "host_activity", "hosts", "counters", "commit"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			uri := server.Database(t)
			for i, b := range batches {
				crashed := atomic.Bool{}
				s, err := mongostore.Open(t.Context(), uri, opt.WithFault(func(before string) error {
					if before == point || crashed.Load() { // a crashed process writes nothing more
						crashed.Store(true)
						return errCrashed
					}
					return nil
				}))
				if err != nil {
					t.Fatal(err)
				}
				if err := save(s, b); err == nil && b.Matches != nil { // otherwise it may not come to that point
					t.Errorf("batch %d was saved", i)
				}
				s.Close()
			}
			s := open(t, uri, opt)
			for _, b := range batches {
				if err := save(s, b); err != nil {
					t.Fatal(err)
				}
				if err := save(s, b); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(want, readOutcome(t, s)); d != "" {
				t.Errorf("after a crash before %s (-want +got):\n%s", point, d)
			}
		})
	}
}

// Three processes save the same batches concurrently, and other batches with the
// same events. The outcome is that of one process.
func TestThreeProcesses(t *testing.T) {
	uri := mongotest.Start(t).Database(t)
	stores := []store.Store{open(t, uri, mongostore.Options{}), open(t, uri, mongostore.Options{}), open(t, uri, mongostore.Options{}.WithoutBulkWrite())}
	var savers sync.WaitGroup
	var stored, duplicate, duplicateBatches, matches, opened atomic.Int64
	for _, s := range stores {
		for w := range 2 {
			savers.Go(func() {
				for i := range 8 {
					saved, err := s.Save(t.Context(), testBatch(fmt.Sprintf("b%d-%d", i, w), i*20, 20))
					if err != nil {
						t.Errorf("save: %v", err)
						continue
					}
					stored.Add(int64(saved[0].Stored))
					duplicate.Add(int64(saved[0].Duplicate))
					matches.Add(int64(saved[0].Matches))
					opened.Add(int64(len(saved[0].Opened)))
					if saved[0].DuplicateBatch {
						duplicateBatches.Add(1)
					}
				}
			})
		}
	}
	savers.Wait()
	if stored.Load() != 160 || duplicate.Load() != 160 || duplicateBatches.Load() != 32 || matches.Load() != 16 || opened.Load() != 1 {
		t.Errorf("stored %d, duplicate %d, duplicate batches %d, matches %d, opened %d", stored.Load(), duplicate.Load(), duplicateBatches.Load(), matches.Load(), opened.Load())
	}
	o := readOutcome(t, stores[0])
	if o.Totals.Stored != 160 || o.Totals.Duplicate != 160 || o.Totals.Matches != 16 || o.Alerts != 1 || o.AlertMatches != 16 || o.Matches != 16 ||
		o.Observations != 16 || o.Host.Events != 160 || o.Host.Alerts != 1 || o.MinuteEvents != 160 || o.Opened != 1 || o.RuleMatches != 16 {
		t.Errorf("outcome %+v", o)
	}
}

// Batches whose workers died before they saved them, however many, hold up no other batch:
// its alert opens, and they are completed when they are delivered again.
func TestUnfinishedSaves(t *testing.T) {
	const unfinished = 300
	uri := mongotest.Start(t).Database(t)
	crashing := open(t, uri, mongostore.Options{NoBackground: true}.WithFault(func(before string) error {
		if before == "commit" {
			return errCrashed
		}
		return nil
	}))
	for n := range unfinished {
		if _, err := crashing.Save(t.Context(), testBatch(fmt.Sprint("b", n), n, 1)); !errors.Is(err, errCrashed) {
			t.Fatalf("save: %v", err)
		}
	}
	s := open(t, uri, mongostore.Options{NoBackground: true})
	saved, err := s.Save(t.Context(), testBatch("next", unfinished, 1))
	if err != nil || saved[0].Matches != 1 || len(saved[0].Opened) != 1 {
		t.Fatalf("%+v, %v", saved, err)
	}
	for n := range unfinished {
		if _, err := s.Save(t.Context(), testBatch(fmt.Sprint("b", n), n, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if o := readOutcome(t, s); o.Totals.Stored != unfinished+1 || o.Totals.Duplicate != 0 || o.AlertMatches != unfinished/10+1 || o.Host.Events != unfinished+1 {
		t.Errorf("outcome %+v", o)
	}
}

// An event that was deleted and is sent again is stored again, and its match stays one.
func TestStoredAgain(t *testing.T) {
	s := open(t, mongotest.Start(t).Database(t), mongostore.Options{NoBackground: true})
	for n, want := range []store.SaveResult{{Stored: 5, Matches: 1}, {Stored: 5}} {
		saved, err := s.Save(t.Context(), testBatch(fmt.Sprint("b", n), 0, 5))
		if err != nil || saved[0].Stored != want.Stored || saved[0].Matches != want.Matches {
			t.Fatalf("save %d: %+v, %v", n, saved, err)
		}
		if n, err := s.PruneEvents(t.Context(), store.Retention{MaxAge: time.Hour, Now: start.Add(24 * time.Hour)}); n != 5 || err != nil {
			t.Fatalf("%d events deleted, %v", n, err)
		}
	}
	if o := readOutcome(t, s); o.AlertMatches != 1 || o.Matches != 1 || o.Totals.Events != 0 || o.Totals.RawBytes != 0 {
		t.Errorf("outcome %+v", o)
	}
}

// While the server is down, all calls are picket.ErrUnavailable. Once it is back,
// the store works again.
func TestServerDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := mongotest.StartProcess(t, dir, "127.0.0.1:0", "--sync-on-commit")
	uri := server.Database(t) + "?serverSelectionTimeoutMS=500"
	s := open(t, uri, mongostore.Options{})
	if _, err := s.Save(t.Context(), testBatch("b1", 0, 10)); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	var calls sync.WaitGroup
	for name, call := range map[string]func() error{
		"Save":         func() error { _, err := s.Save(t.Context(), testBatch("b2", 10, 10)); return err },
		"SearchEvents": func() error { _, err := s.SearchEvents(t.Context(), store.EventQuery{}); return err },
		"Totals":       func() error { _, err := s.Totals(t.Context()); return err },
		"AcquireCorrelationLease": func() error {
			_, err := s.AcquireCorrelationLease(t.Context(), "a", time.Second)
			return err
		},
		"TokenByHash": func() error { _, err := s.TokenByHash(t.Context(), "x"); return err },
		"AddToken":    func() error { return s.AddToken(t.Context(), store.Token{ID: "x"}) },
		"Open":        func() error { _, err := mongostore.Open(t.Context(), uri, mongostore.Options{}); return err },
	} {
		for range 20 { // so that some have selected the server when the first fails
			calls.Go(func() {
				if err := call(); !errors.Is(err, picket.ErrUnavailable) {
					t.Errorf("%s while the server is down: %v", name, err)
				}
			})
		}
	}
	calls.Wait()
	mongotest.StartProcess(t, dir, server.Addr(), "--sync-on-commit")
	var saved []store.SaveResult
	var err error
	for range 20 {
		if saved, err = s.Save(t.Context(), testBatch("b2", 10, 10)); err == nil {
			break
		}
	}
	if err != nil || saved[0].Stored != 10 {
		t.Fatalf("after the server is back: %+v, %v", saved, err)
	}
	if o := readOutcome(t, s); o.Totals.Stored != 20 || o.AlertMatches != 2 {
		t.Errorf("outcome %+v", o)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, uri := range []string{"", "http://x", "mongodb://", "mongodb://a:b:c/x"} {
		if _, err := mongostore.Open(t.Context(), uri, mongostore.Options{}); !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("open %q: %v", uri, err)
		}
	}
}

// A database of the legacy system is refused.
func TestOpenLegacyDatabase(t *testing.T) {
	uri := mongotest.Start(t).Database(t)
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Disconnect(t.Context())
	name := uri[strings.LastIndex(uri, "/")+1:]
	if _, err := c.Database(name).Collection("telemetry_events").InsertOne(t.Context(), bson.D{{Key: "event_id", Value: "1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := mongostore.Open(t.Context(), uri, mongostore.Options{}); !errors.Is(err, picket.ErrConflict) {
		t.Errorf("open: %v", err)
	}
}
