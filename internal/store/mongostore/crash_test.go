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

// testBatch is a batch of n events of one host; every tenth matches a rule, and is
// observed for a correlation.
func testBatch(batch string, lo, n int) store.Batch {
	b := store.Batch{ID: batch}
	for i := lo; i < lo+n; i++ {
		at := start.Add(time.Duration(i) * time.Second)
		ev := picket.Event{ID: fmt.Sprintf("event-%06d", i), AgentID: "agent", Host: "host", Type: "process", OS: "linux", Time: at, Received: at,
			Raw: fmt.Appendf(nil, `{"n":%d,"name":"process %d"}`, i, i)}
		b.Events = append(b.Events, ev)
		if i%10 == 0 {
			b.Matches = append(b.Matches, picket.Match{ID: picket.MatchID("rule", ev.ID), RuleID: "rule", EventID: ev.ID, AgentID: "agent", Time: at,
				Title: "Rule", Level: sigma.High, Host: "host", Observed: map[string]string{"User": "u"}})
		}
	}
	return b
}

// An outcome is all that counts batches.
type outcome struct {
	Totals             store.Totals
	Alerts             int
	Count              int64
	Matches, Observed  int
	Host               store.Host
	Minutes, Opened    int64
	Status             map[picket.AlertStatus]int64
	RuleAlerts, RuleOf int64
}

func readOutcome(t *testing.T, s store.Store) outcome {
	t.Helper()
	ctx := t.Context()
	var o outcome
	var err, errs error
	note := func(err error) { errs = errors.Join(errs, err) }
	o.Totals, err = s.Totals(ctx)
	o.Totals.DiskBytes = 0
	note(err)
	page, err := s.Alerts(ctx, store.AlertQuery{})
	note(err)
	o.Alerts = len(page.Alerts)
	for _, a := range page.Alerts {
		o.Count += a.Count
	}
	matches, err := s.Matches(ctx, store.MatchQuery{Limit: 1000})
	note(err)
	o.Matches = len(matches.Matches)
	seen, _, err := s.Observations(ctx, 0, 1000)
	note(err)
	o.Observed = len(seen)
	o.Host, err = s.Host(ctx, "host")
	note(err)
	minutes, err := s.Activity(ctx, time.Time{}, time.Time{})
	note(err)
	for _, m := range minutes {
		o.Minutes += m.Events["process"]
		o.Opened += m.Alerts["high"]
	}
	counts, err := s.AlertCounts(ctx)
	note(err)
	o.Status = counts.ByStatus
	for _, r := range counts.TopRules {
		o.RuleAlerts += r.Alerts
		o.RuleOf += r.Matches
	}
	if errs != nil {
		t.Fatal(errs)
	}
	return o
}

var errCrashed = errors.New("died")

// A process that dies before any of its writes leaves what another, which
// saves the same batch again, completes; and nothing counts twice.
func TestCrash(t *testing.T) {
	server := mongotest.Start(t)
	batches := []store.Batch{testBatch("b1", 0, 40), testBatch("b2", 30, 40), testBatch("b3", 70, 5), testBatch("b4", 75, 30)}
	save := func(s store.Store, b store.Batch) error {
		_, err := s.Save(t.Context(), b)
		return err
	}
	whole := open(t, server.Database(t), mongostore.Options{NoBackground: true})
	for _, b := range batches {
		if err := save(whole, b); err != nil {
			t.Fatal(err)
		}
	}
	want := readOutcome(t, whole)
	if want.Totals.Stored != 105 || want.Totals.Duplicate != 10 || want.Count != 11 || want.Matches != 11 || want.Observed != 11 || want.Alerts != 1 {
		t.Fatalf("without a crash: %+v", want)
	}
	for _, point := range []string{"batches", "step", "totals", "alerts", "hosts", "rule_stats", "rollups", "matches", "applied", "done"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			uri := server.Database(t)
			for i, b := range batches {
				died := atomic.Bool{}
				s, err := mongostore.Open(t.Context(), uri, mongostore.Options{NoBackground: true}.WithFault(func(before string) error {
					if before == point || died.Load() { // and it writes no more
						died.Store(true)
						return errCrashed
					}
					return nil
				}))
				if err != nil {
					t.Fatal(err)
				}
				if err := save(s, b); err == nil && i != 2 { // which has no matches to wait for
					t.Errorf("batch %d was saved", i)
				}
				s.Close()
			}
			s := open(t, uri, mongostore.Options{NoBackground: true})
			for _, b := range batches {
				if err := save(s, b); err != nil {
					t.Fatal(err)
				}
				if err := save(s, b); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(want, readOutcome(t, s)); d != "" {
				t.Errorf("after dying before %s (-want +got):\n%s", point, d)
			}
		})
	}
}

// Two processes that save the same batches at once, and others that carry the
// same events, come to the same as one.
func TestTwoProcesses(t *testing.T) {
	uri := mongotest.Start(t).Database(t)
	stores := []store.Store{open(t, uri, mongostore.Options{}), open(t, uri, mongostore.Options{}), open(t, uri, mongostore.Options{})}
	var work sync.WaitGroup
	var stored, duplicate, repeated, matches, opened atomic.Int64
	for _, s := range stores {
		for w := range 2 {
			work.Go(func() {
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
						repeated.Add(1)
					}
				}
			})
		}
	}
	work.Wait()
	if stored.Load() != 160 || duplicate.Load() != 160 || repeated.Load() != 32 || matches.Load() != 16 || opened.Load() != 1 {
		t.Errorf("stored %d, duplicate %d, repeated %d, matches %d, opened %d", stored.Load(), duplicate.Load(), repeated.Load(), matches.Load(), opened.Load())
	}
	o := readOutcome(t, stores[0])
	if o.Totals.Stored != 160 || o.Totals.Duplicate != 160 || o.Totals.Matches != 16 || o.Alerts != 1 || o.Count != 16 || o.Matches != 16 ||
		o.Observed != 16 || o.Host.Events != 160 || o.Host.Alerts != 1 || o.Minutes != 160 || o.Opened != 1 || o.RuleOf != 16 {
		t.Errorf("outcome %+v", o)
	}
}

// A server that is away is picket.ErrUnavailable, and when it is back all goes on.
func TestAway(t *testing.T) {
	dir := t.TempDir()
	server := mongotest.StartOn(t, dir, "127.0.0.1:0")
	uri := server.Database(t)
	s := open(t, uri+"?serverSelectionTimeoutMS=500", mongostore.Options{})
	if _, err := s.Save(t.Context(), testBatch("b1", 0, 10)); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	_, err := s.Save(t.Context(), testBatch("b2", 10, 10))
	_, findErr := s.SearchEvents(t.Context(), store.EventQuery{})
	_, totalsErr := s.Totals(t.Context())
	_, leadErr := s.AcquireCorrelationLease(t.Context(), "a", time.Second)
	_, tokenErr := s.TokenByHash(t.Context(), "x")
	for _, err := range []error{err, findErr, totalsErr, leadErr, tokenErr, s.AddToken(t.Context(), store.Token{ID: "x"})} {
		if !errors.Is(err, picket.ErrUnavailable) {
			t.Errorf("while the server is away: %v", err)
		}
	}
	if _, err := mongostore.Open(t.Context(), uri+"?serverSelectionTimeoutMS=500", mongostore.Options{}); !errors.Is(err, picket.ErrUnavailable) {
		t.Errorf("open while the server is away: %v", err)
	}
	mongotest.StartOn(t, dir, server.Addr())
	var saved []store.SaveResult
	for range 20 {
		if saved, err = s.Save(t.Context(), testBatch("b2", 10, 10)); err == nil {
			break
		}
	}
	if err != nil || saved[0].Stored != 10 {
		t.Fatalf("after the server is back: %+v, %v", saved, err)
	}
	if o := readOutcome(t, s); o.Totals.Stored != 20 || o.Count != 2 {
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

// A database of the replaced system is left alone.
func TestOpenForeign(t *testing.T) {
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
