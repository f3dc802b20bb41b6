package sqlitestore_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// otrf returns n Windows events of OTRF in batches of 500. They repeat, each time
// with other ids.
func otrf(tb testing.TB, n int) []store.Batch {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(testenv.ExternalDataDir(tb), "otrf", "*.json.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	var raws [][]byte
	for _, name := range files {
		raws = append(raws, readLines(tb, name)...)
	}
	now := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	var evs []picket.Event
	var dec flatjson.Decoder
	fields := make([][]sigma.Field, len(raws))
	for i := range n {
		k := i % len(raws)
		if fields[k] == nil {
			if fields[k], err = dec.Decode(raws[k], nil); err != nil {
				tb.Fatal(err)
			}
		}
		at := now.Add(time.Duration(i) * time.Millisecond)
		evs = append(evs, picket.Event{ID: madeID(i), Sender: "collector:winlogbeat", AgentID: "collector", Host: "WORKSTATION5", Type: "event", OS: "windows",
			Time: at, Received: at.Add(time.Second).Truncate(time.Second), Raw: raws[k], Fields: fields[k]})
	}
	return inBatches(evs)
}

// madeID returns a UUID that looks random.
func madeID(i int) string {
	x := uint64(i+1) * 0x9e3779b97f4a7c15
	y := (x ^ x>>29) * 0xbf58476d1ce4e5b9
	y ^= y >> 32
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", uint32(x>>32), uint16(x>>16), uint16(x), uint16(y>>48), y&0xffffffffffff)
}

func inBatches(evs []picket.Event) []store.Batch {
	var out []store.Batch
	for len(evs) > 0 {
		n := min(500, len(evs))
		out = append(out, store.Batch{ID: fmt.Sprint("batch-", len(out)), Events: evs[:n]})
		evs = evs[n:]
	}
	return out
}

func readLines(tb testing.TB, name string) [][]byte {
	f, err := os.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	var out [][]byte
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		out = append(out, append([]byte(nil), sc.Bytes()...))
	}
	if err := sc.Err(); err != nil {
		tb.Fatal(err)
	}
	return out
}

// process returns n events of about 700 bytes like those of an agent.
func process(tb testing.TB, n int) []store.Batch {
	now := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	var dec flatjson.Decoder
	evs := make([]picket.Event, n)
	for i := range evs {
		id := madeID(i)
		raw := fmt.Sprintf(`{"event_id":%q,"agent_id":"agent-%d","event_type":"process","timestamp":%q,"hostname":"host-%d","os":"linux",`+
			`"process":{"pid":%d,"ppid":%d,"name":"worker%d","executable":"/usr/lib/app/bin/worker%d","command_line":"/usr/lib/app/bin/worker%d --id %d --config /etc/app/worker.d/%d.yaml --verbose",`+
			`"hash":{"sha256":"%x%x"},"user":"svc%d","start":"2026-08-01T00:%02d:%02dZ","cwd":"/var/lib/app/instances/%d"},"parent":{"name":"supervisor","executable":"/usr/sbin/supervisor","command_line":"/usr/sbin/supervisor -c /etc/supervisor.conf"},"tags":["production","region-%d"]}`,
			id, i%50, now.Format(time.RFC3339), i%50, 1000+i%30000, 1+i%900, i%40, i%40, i%40, i, i%300, (i%200)*7919+1, (i%200)*104729+7, i%9, i/60%60, i%60, i%300, i%4)
		fields, err := dec.Decode([]byte(raw), nil)
		if err != nil {
			tb.Fatal(err)
		}
		evs[i] = picket.Event{ID: id, AgentID: fmt.Sprint("agent-", i%50), Host: fmt.Sprint("host-", i%50), Type: "process", OS: "linux",
			Time: now, Received: now, Raw: []byte(raw), Fields: fields}
	}
	return inBatches(evs)
}

func rawBytes(batches []store.Batch) (events int, bytes int64) {
	for _, b := range batches {
		events += len(b.Events)
		for i := range b.Events {
			bytes += int64(len(b.Events[i].Raw))
		}
	}
	return events, bytes
}

func BenchmarkSave(b *testing.B) {
	for _, kind := range []struct {
		name string
		make func(testing.TB, int) []store.Batch
	}{{"otrf", otrf}, {"process", process}} {
		b.Run(kind.name, func(b *testing.B) {
			batches := kind.make(b, 50_000)
			events, bytes := rawBytes(batches)
			b.SetBytes(bytes)
			for b.Loop() {
				path := filepath.Join(b.TempDir(), "events.db")
				s, err := sqlitestore.Open(path, sqlitestore.Options{})
				if err != nil {
					b.Fatal(err)
				}
				saveAll(b, s, batches, 4)
				if err := s.Compact(b.Context()); err != nil { // compaction is part of the work
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				st, err := os.Stat(path)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(100*float64(st.Size())/float64(bytes), "%disk")
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// saveAll saves batches with a number of goroutines.
func saveAll(tb testing.TB, s store.Store, batches []store.Batch, by int) {
	next := make(chan store.Batch)
	fail := make(chan error, by)
	for range by {
		go func() {
			var err error
			for b := range next {
				if err == nil {
					_, err = s.Save(context.Background(), b)
				}
			}
			fail <- err
		}()
	}
	for _, b := range batches {
		next <- b
	}
	close(next)
	for range by {
		if err := <-fail; err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkSearchEvents(b *testing.B) {
	batches := otrf(b, 100_000)
	path := filepath.Join(b.TempDir(), "events.db")
	s, err := sqlitestore.Open(path, sqlitestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	saveAll(b, s, batches, 2)
	if err := s.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	oldest := batches[0].Events[0].ID
	batches = nil // free their memory, which would hide the cost of garbage collection
	runtime.GC()
	for _, q := range []struct{ name, query string }{
		{"all", ""},
		{"field", "EventID=1"},
		{"field_rare", `Image=*\mshta.exe`},
		{"field_none", "Image=*nothing.exe"},
		{"field_absent", "NoSuchField=1"},
		{"field_many_values", "RecordNumber=225506"},
		{"field_wildcards", `CommandLine="*power?hell*-enc*"`},
		{"regex", `CommandLine~(?i)powershell.*-enc`},
		{"regex_none", `CommandLine~zz[0-9]+qq`},
		{"wide_field", `Message=*bitsadmin*`},
		{"wide_regex", `Message~Bits[a-z]+ /transfer`},
		{"oldest_id", "event_id=" + oldest},
		{"word_common", "windows"},
		{"word_rare", "bitsadmin"},
		{"word_none", "xylophone"},
		{"word_none_common_trigrams", "securitysystemprocess"},
		{"phrase", `"process has exited"`},
		{"and_not", `EventID=10 and not SourceImage=*svchost.exe and not TargetImage=*lsass.exe`},
		{"word_and_field", `EventID=4688 and mimikatz`},
		{"not_word", `not windows`},
		{"across_tokens", `"\"EventID\":1,"`},
		{"or", `(Image=*\cmd.exe or Image=*\powershell.exe) and not User=*SYSTEM`},
		{"not_common", `not EventID=*`},
	} {
		b.Run(q.name, func(b *testing.B) {
			where, err := store.ParseQuery(q.query)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				page, err := s.SearchEvents(b.Context(), store.EventQuery{Where: where})
				if err != nil {
					b.Fatal(err)
				}
				n = len(page.Events)
			}
			b.ReportMetric(float64(n), "hits")
			b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/search")
		})
	}
}
