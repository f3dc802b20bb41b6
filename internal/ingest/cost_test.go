package ingest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// hostileBodies are bodies that cost much more than their bytes, were it not for the
// limits.
func hostileBodies() map[string]string {
	list := func(unit string, n int) string { return strings.TrimSuffix(strings.Repeat(unit+",", n), ",") }
	var members, types strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&members, `"%d":1,`, i)
	}
	for i := range 9000 {
		fmt.Fprintf(&types, "{\"event_type\":\"%d%s\"}\n", i, strings.Repeat("t", 100))
	}
	return map[string]string{
		"one long name with many members": `{"event_type":"x","` + strings.Repeat("k", 64<<10) + `":{` + members.String() + `"a":1}}`,
		"many numbers":                    "[" + list(`{"event_type":"x","a":[`+list("1", 499_000)+"]}", 8) + "]",
		"numbers within the limits":       "[" + list(`{"event_type":"x","a":[`+list("1", 60_000)+"]}", 60) + "]",
		"many paths":                      "[" + list(`{"event_type":"x",`+members.String()+`"a":1}`, 60) + "]",
		"small invalid events":            "[" + list("{}", 9999) + "]",
		"small values":                    "[" + list("1", 9999) + "]",
		"types":                           types.String(),
		"text of many fields":             `{"event_type":"x","message":"type=SYSCALL msg=audit(1700000000.123:456): ` + strings.Repeat("a=b ", 200_000) + `"}`,
		"unclosed":                        strings.Repeat(`{"a":[`, 50_000),
		"escapes":                         `{"event_type":"x","a":"` + strings.Repeat(`\u0041`, 100_000) + `"}`,
	}
}

// FuzzTelemetryCost: a request allocates no more than a small multiple of its bytes, and
// some kilobytes for each event. docs/limits.md states it.
func FuzzTelemetryCost(f *testing.F) {
	bodies := hostileBodies()
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		f.Add([]byte(bodies[name]))
	}
	r := newFixture(f, sqlitequeue.Options{}, ingest.Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		events := min(10_000, bytes.Count(body, []byte{','})+bytes.Count(body, []byte{'\n'})+1)
		testenv.CheckAllocated(t, 8<<20+64*len(body)+8<<10*events, func() {
			w := r.do("POST", "/api/v1/telemetry/", bytes.NewReader(body), "Authorization", "Token "+r.agent, "Content-Type", "application/json")
			if w.Code != http.StatusCreated && (w.Code < 400 || w.Code >= 500) {
				t.Fatalf("%d %.200s", w.Code, w.Body)
			}
		})
	})
}

// Each event past a limit is rejected with the reason; the others are accepted.
func TestEventsPastLimits(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	w := r.post(r.agent, `[{"event_type":"x"},{"event_type":"x","a":[`+strings.Repeat("1,", 70_000)+`1]}]`)
	var answer struct {
		BatchSize, Failed int
		Errors            []struct {
			Index  int
			Reason string
		}
	}
	testenv.Check(t, json.Unmarshal(bytes.ReplaceAll(w.Body.Bytes(), []byte("batch_size"), []byte("batchsize")), &answer))
	if w.Code != http.StatusCreated || answer.BatchSize != 2 || answer.Failed != 1 || answer.Errors[0].Index != 1 ||
		!strings.Contains(answer.Errors[0].Reason, "more than 65536 values") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if events := r.takeAll(t); len(events) != 1 {
		t.Errorf("%d events queued", len(events))
	}
}

// Rejected events past the first hundred of a request share one dead letter, which has
// all of them.
func TestManyRejected(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	w := r.post(r.agent, "["+strings.Repeat("{},", 998)+"{}]")
	if n := strings.Count(w.Body.String(), `{"agent_id":[`); w.Code != http.StatusBadRequest || n != 999 {
		t.Fatalf("%d, %d errors", w.Code, n)
	}
	page, err := r.queue.DeadLetters(t.Context(), 0, 1000)
	deadLetters := page.DeadLetters
	testenv.Check(t, err)
	events := 0
	for _, l := range deadLetters {
		events += l.Events
	}
	if len(deadLetters) != 101 || events != 999 {
		t.Errorf("%d dead deadLetters of %d events", len(deadLetters), events)
	}
}

// A body that arrives byte by byte, in gzip members of one byte, is read in linear time.
// In quadratic time, the test would time out.
func TestOneByteMembers(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	var member, body bytes.Buffer
	z, err := gzip.NewWriterLevel(&member, gzip.BestSpeed)
	testenv.Check(t, err)
	write := func(s string) []byte {
		member.Reset()
		z.Reset(&member)
		z.Write([]byte(s))
		testenv.Check(t, z.Close())
		return bytes.Clone(member.Bytes())
	}
	body.Write(write(`{"event_type":"x","a":"`))
	for one, n := write("a"), 500_000; n > 0; n-- {
		body.Write(one)
	}
	body.Write(write("\"}"))
	w := r.do("POST", "/api/v1/telemetry/", &body, "Authorization", "Token "+r.agent, "Content-Type", "application/json", "Content-Encoding", "gzip")
	if w.Code != http.StatusCreated {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
