package mongostore_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/nettest"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// processes returns batches of 500 events of 700 bytes, each of one agent, the first of
// them with number first. One event in so many matches a rule.
func processes(b *testing.B, first, batches, matches int) []store.Batch {
	var dec flatjson.Decoder
	out := make([]store.Batch, batches)
	for i := range out {
		out[i] = processBatch(b, &dec, first+i, matches)
	}
	return out
}

// processBatch returns batch i of processes.
func processBatch(b *testing.B, dec *flatjson.Decoder, i, matches int) store.Batch {
	agent := fmt.Sprintf("agent-%03d", i%100)
	out := store.Batch{ID: fmt.Sprint("batch-", i)}
	for k := range 500 {
		n := i*500 + k
		at := time.Date(2026, 8, 1, 0, 0, n/1000, 0, time.UTC)
		raw := fmt.Appendf(nil, `{"agent_id":%q,"event_id":"%016x","event_type":"process","timestamp":%d,"severity":"info","version":"1.0",`+
			`"host":{"hostname":%q,"os":"Windows","os_version":"10.0.19045"},"process":{"name":"C:\\Windows\\System32\\svchost.exe","pid":%d,"ppid":704,`+
			`"command_line":"C:\\Windows\\System32\\svchost.exe -k netsvcs -p -s Schedule --token %x%x","user":"NT AUTHORITY\\SYSTEM",`+
			`"parent_image":"C:\\Windows\\System32\\services.exe","sha256":"%064x","integrity":"System","padding":"%0100d"}}`,
			agent, uint64(n)*0x9e3779b97f4a7c15, at.Unix(), agent, n%65536, n*7919, n*104729, n, n)
		fields, err := dec.Decode(raw, nil)
		testenv.Check(b, err)
		ev := picket.Event{ID: fmt.Sprintf("%016x", uint64(n)*0x9e3779b97f4a7c15), Sender: "agent:" + agent, AgentID: agent, Host: agent, Type: "process", OS: "windows",
			Time: at, Received: at, Raw: raw, Fields: fields}
		out.Events = append(out.Events, ev)
		if matches > 0 && n%matches == 0 {
			out.Matches = append(out.Matches, picket.Match{ID: picket.MatchID("rule", ev.Key()), RuleID: "rule", EventID: ev.ID, EventNamespace: ev.Namespace(), AgentID: agent,
				Time: at, Title: "Rule", Level: sigma.High, Host: agent})
		}
	}
	return out
}

// BenchmarkSave saves batches of 500 events with four workers. No event matches, or
// one in 500.
func BenchmarkSave(b *testing.B) {
	for _, matches := range []int{0, 500} {
		b.Run(fmt.Sprintf("matches=%d", matches), func(b *testing.B) {
			server := mongotest.Start(b)
			batches := processes(b, 0, 40, matches)
			for b.Loop() {
				b.StopTimer()
				s := open(b, server.Database(b), mongostore.Options{})
				b.StartTimer()
				saveAll(b, s, batches, 4)
			}
			b.ReportMetric(float64(500*len(batches)*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func saveAll(b *testing.B, s store.Store, batches []store.Batch, workers int) {
	next := make(chan store.Batch)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for batch := range next {
				if _, err := s.Save(context.Background(), batch); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, batch := range batches {
		next <- batch
	}
	close(next)
	work.Wait()
}

// smallBatches returns four batches of five events, one of which matches a rule, as number
// n of what a worker saves. Workers save events of agents of their own.
func smallBatches(worker, n int) []store.Batch {
	out := make([]store.Batch, 4)
	for i := range out {
		agent := fmt.Sprintf("agent-%d-%d", worker, (4*n+i)%25)
		b := &out[i]
		b.ID = fmt.Sprintf("%d-%d-%d", worker, n, i)
		for k := range 5 {
			ev := picket.Event{ID: fmt.Sprintf("%s-%d", b.ID, k), Sender: "agent:" + agent, AgentID: agent, Host: agent, Type: "process", OS: "linux",
				Time: start, Received: start, Raw: fmt.Appendf(nil, `{"n":%d,"name":"/usr/bin/process-%d","padding":"%0600d"}`, n, k, n)}
			b.Events = append(b.Events, ev)
		}
		ev := &b.Events[0]
		b.Matches = []picket.Match{{ID: picket.MatchID("rule", ev.Key()), RuleID: "rule", EventID: ev.ID, EventNamespace: ev.Namespace(), AgentID: agent,
			Time: ev.Time, Title: "Rule", Level: sigma.High, Host: agent}}
	}
	return out
}

// BenchmarkWorkers is the curve of scale.md: processes that save four small batches at a
// time, with matches, each through a connection with a round trip of so many
// milliseconds. An iteration is one save of each process.
func BenchmarkWorkers(b *testing.B) {
	for _, roundTrip := range []int{0, 5, 20} {
		for _, workers := range []int{1, 2, 4, 8, 16} {
			b.Run(fmt.Sprintf("ms=%d/workers=%d", roundTrip, workers), func(b *testing.B) {
				server := mongotest.StartProcess(b, b.TempDir(), "127.0.0.1:0")
				proxy := nettest.NewProxy(b, server.Addr())
				uri := server.Through(proxy.Addr, server.Database(b))
				stores := make([]store.Store, workers)
				for i := range stores {
					stores[i] = open(b, uri, mongostore.Options{NoBackground: true})
				}
				proxy.Delay(time.Duration(roundTrip) * time.Millisecond / 2) // each way
				b.ResetTimer()
				var work sync.WaitGroup
				for w, s := range stores {
					work.Go(func() {
						for n := range b.N {
							if _, err := s.Save(b.Context(), smallBatches(w, n)...); err != nil {
								b.Error(err)
							}
						}
					})
				}
				work.Wait()
				b.StopTimer()
				proxy.Heal()
				b.ReportMetric(float64(4*workers*b.N)/b.Elapsed().Seconds(), "batches/s")
			})
		}
	}
}

// BenchmarkPages reads pages of 100 events of a store with PICKET_BENCH_EVENTS events,
// 10,000 by default: the first, one far behind it, and those of a host; and counts events
// by type and host.
func BenchmarkPages(b *testing.B) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("PICKET_BENCH_EVENTS"), "10000"))
	testenv.Check(b, err)
	s := open(b, mongotest.Start(b).Database(b), mongostore.Options{})
	begin := time.Now()
	for from := 0; from < n; from += 500 * 20 {
		saveAll(b, s, processes(b, from/500, 20, 500), 2)
	}
	b.Logf("%d events saved at %.0f/s", n, float64(n)/time.Since(begin).Seconds())
	deep := store.EventQuery{Limit: 1000}
	for range n / 2000 {
		page, err := s.SearchEvents(b.Context(), deep)
		testenv.Check(b, err)
		deep.Cursor = page.Next
	}
	deep.Limit = 100
	host := &store.PatternTerm{Field: "host", Pattern: store.NewPattern("agent-007")}
	image := &store.PatternTerm{Field: "process.name", Pattern: store.NewPattern(`*\svchost.exe`)}
	for _, c := range []struct {
		name string
		q    store.EventQuery
	}{{"first", store.EventQuery{}}, {"middle", deep}, {"host", store.EventQuery{Where: host}}, {"image", store.EventQuery{Where: image}}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				page, err := s.SearchEvents(b.Context(), c.q)
				if err != nil || len(page.Events) == 0 {
					b.Fatalf("%d events, %v", len(page.Events), err)
				}
			}
		})
	}
	for name, where := range map[string]store.Expr{"all": nil, "host": host} {
		b.Run("count/"+name, func(b *testing.B) {
			for b.Loop() {
				counts, err := s.CountEvents(b.Context(), store.EventQuery{Where: where}, []string{store.EventTypeField, "host"})
				if err != nil || counts.Events == 0 {
					b.Fatalf("%d events, %v", counts.Events, err)
				}
			}
		})
	}
}

// BenchmarkStatistics reads the statistics of the console's first page. The cost
// does not depend on the number of alerts.
func BenchmarkStatistics(b *testing.B) {
	s := open(b, mongotest.Start(b).Database(b), mongostore.Options{})
	saveAll(b, s, processes(b, 0, 20, 50), 2)
	for b.Loop() {
		if _, err := s.AlertCounts(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Totals(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.CountHosts(b.Context(), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
