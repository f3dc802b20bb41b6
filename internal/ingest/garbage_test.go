package ingest_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// bomb is head, then size bytes or a little more of what filler repeats, in
// gzip: a member for each megabyte, which are all the same.
func bomb(t *testing.T, head, filler string, size int) []byte {
	t.Helper()
	block := strings.Repeat(filler, 1+(1<<20)/len(filler))
	return append([]byte(gzipped(t, head)), strings.Repeat(gzipped(t, block), 1+size/len(block))...)
}

// A hundred megabytes compressed to a few kilobytes are rejected during
// decompression.
func TestDecompressionBombs(t *testing.T) {
	const size = 100 << 20
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for _, c := range []struct {
		name, path, head, filler string
		statuses                 []int
		most                     uint64 // bytes allocated in all, in MiB
	}{
		{"zeros", "/api/v1/telemetry/", "", "\x00", []int{400}, 4},
		{"space", "/api/v1/telemetry/", "", " ", []int{413}, 12},
		{"space in an array", "/api/v1/telemetry/", "[", " ", []int{413}, 12},
		{"one string", "/api/v1/telemetry/", `[{"a":"`, "x", []int{413}, 12},
		{"escapes", "/api/v1/telemetry/", `[{"a":"`, `\\`, []int{413}, 12},
		{"numbers", "/api/v1/telemetry/", `[1`, ",1", []int{413}, 12},
		{"events", "/api/v1/telemetry/", "[" + native, "," + native, []int{413}, 24},
		{"lines", "/api/v1/telemetry/", native, "\n" + native, []int{413}, 24},
		{"deep", "/api/v1/telemetry/", "", `{"a":`, []int{413}, 12},
		{"deep arrays", "/api/v1/telemetry/", "", `[`, []int{413}, 12},
		{"bulk zeros", "/_bulk", "", "\x00", []int{413}, 12},
		{"bulk lines", "/_bulk", "", "{}\n", []int{413, 400}, 60},
		{"osquery of nobody", "/api/v1/osquery/log", `{"node_key":"no","data":[`, "1,", []int{200}, 4},
		{"osquery", "/api/v1/osquery/log", `{"node_key":"` + r.collector + `","data":[1`, ",1", []int{413}, 400},
	} {
		body := bomb(t, c.head, c.filler, size)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		headers := []string{"Content-Encoding", "gzip", "Content-Type", "application/json"}
		if !strings.HasPrefix(c.name, "osquery") {
			headers = append(headers, "Authorization", "Token "+r.agent)
		}
		w := r.do("POST", c.path, bytes.NewReader(body), headers...)
		runtime.ReadMemStats(&after)
		ok := false
		for _, s := range c.statuses {
			ok = ok || w.Code == s
		}
		if !ok {
			t.Errorf("%s: %d %.200s", c.name, w.Code, w.Body)
		}
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > c.most {
			t.Errorf("%s: %d MiB allocated", c.name, mib)
		}
	}
	if w := r.post(r.agent, native); w.Code != http.StatusCreated {
		t.Error("not live any more", w.Code)
	}
}

// A body that is not telemetry is rejected with a reason, or is one invalid event.
func TestMalformedBodies(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for name, body := range map[string]string{
		"deep":             `{"a":` + strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000) + `}`,
		"very deep":        strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat(`}`, 100_000),
		"huge number":      nativeWith(`"host":1e999999`),
		"invalid UTF-8":    "{\"event_type\":\"x\",\"a\":\"\xff\xfe\"}",
		"a lone surrogate": `{"event_type":"\ud800`,
		"byte order mark":  "\xef\xbb\xbf" + native,
		"UTF-16":           "\xff\xfe{\x00}\x00",
		"zero bytes":       "{\"a\":\"\x00\"}",
		"trailing comma":   `[` + native + `,]`,
		"two arrays":       `[][]`,
		"comma first":      `[,` + native + `]`,
		"closed twice":     native + "}",
		"single quotes":    `{'a':1}`,
		"NaN":              `{"a":NaN}`,
		"comment":          `{"a":1/**/}`,
		"HTML":             `<html></html>`,
		"long id":          nativeWith(`"event_id":"` + strings.Repeat("x", 600) + `"`),
		"long type":        nativeWith(`"event_type":"` + strings.Repeat("é", 300<<10) + `"`),
		"a form":           "a=b&c=d",
	} {
		w := r.post(r.agent, body)
		if w.Code < 400 || w.Code >= 500 || w.Body.Len() > 4<<10 {
			t.Errorf("%s: %d, %d bytes: %.200s", name, w.Code, w.Body.Len(), w.Body)
		}
	}
	// None of it is left in what can be put back.
	_, err := r.queue.Requeue(context.Background())
	testenv.Check(t, err)
	for _, ev := range r.takeAll(t) {
		if len(ev.ID) > 512 || len(ev.Type) > 512 || ev.AgentID == "" || ev.Host == "" {
			t.Errorf("put back: id of %d bytes, type of %d, agent %q, host %q", len(ev.ID), len(ev.Type), ev.AgentID, ev.Host)
		}
	}
}

// Hundreds of clients that send a byte now and then do not block others.
func TestSlowClients(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	conns := httpapi.NewConnLimiter(100)
	server := httptest.NewUnstartedServer(r.mux)
	conns.Install(server.Config)
	server.Config.ReadHeaderTimeout = 10 * time.Second
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.Start()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	starts := []string{
		"", "P", "POST /api/v1/telemetry/ HTTP/1.1\r\nHost: x\r\n",
		"POST /api/v1/telemetry/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Token " + r.agent + "\r\nContent-Length: 1000\r\n\r\n{",
	}
	for i := range 400 {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		testenv.Check(t, err)
		defer c.Close()
		if _, err := io.WriteString(c, starts[i%len(starts)]); err != nil {
			continue // closed for room already, which is the point
		}
		if i%20 != 19 {
			continue
		}
		req, err := http.NewRequest("POST", server.URL+"/api/v1/telemetry/", strings.NewReader(native))
		testenv.Check(t, err)
		req.Header.Set("Authorization", "Token "+r.agent)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("after %d slow ones: %v", i, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("after %d slow ones: %s", i, resp.Status)
		}
	}
	if open, closed := conns.Counts(); open > 100 || closed == 0 {
		t.Errorf("%d connections open, %d closed", open, closed)
	}
	server.CloseClientConnections()
}
