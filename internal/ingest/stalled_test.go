package ingest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// stall opens a connection, sends a request and the start of its body, and leaves
// the rest out.
func stall(t *testing.T, server *httptest.Server, path, header string, body []byte) *bufio.Reader {
	t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	testenv.Check(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%sContent-Length: 15000000\r\n\r\n", path, header)
		c.Write(body)
	}()
	return bufio.NewReader(c)
}

// Requests that authenticate in their body take little memory before they have
// done so.
func TestStalledBeforeAuthentication(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	server := httptest.NewServer(r.mux)
	defer server.Close()
	defer server.CloseClientConnections()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const clients = 200
	body := []byte(`{"a":"` + strings.Repeat("x", 1<<20-100))
	for range clients / 2 {
		for _, path := range []string{"/api/v1/osquery/enroll", "/api/v1/osquery/log"} {
			answer := stall(t, server, path, "", body)
			status, err := answer.ReadString('\n')
			testenv.Check(t, err)
			if !strings.Contains(status, "200") { // node_invalid
				t.Fatalf("%s: %s", path, status)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / clients; each > 128<<10 {
		t.Errorf("%d bytes were allocated for each client", each)
	}
}

// An agent whose large bodies stall takes no memory from others: they are answered,
// and its bodies are refused.
func TestStalledSender(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{BodyGrace: 200 * time.Millisecond})
	server := httptest.NewServer(r.mux)
	defer server.Close()
	defer server.CloseClientConnections()
	var stalled []*bufio.Reader
	for _, encoding := range []string{"gzip", "zstd"} { // before the header of the compressed data is complete
		header := "Authorization: Token " + r.agent + "\r\nContent-Encoding: " + encoding + "\r\n"
		stalled = append(stalled, stall(t, server, "/api/v1/telemetry/", header, []byte{0x1f}))
	}
	for size, clients := range map[int]int{100: 150, 200 << 10: 20, 2 << 20: 5, 9 << 20: 2} {
		for range clients {
			body := `[{"event_type":"x","host":"h","a":"` + strings.Repeat("x", min(size, 1<<20-100)) + `"}`
			body += strings.Repeat(`,{"event_type":"x","a":"`+strings.Repeat("x", 1<<19)+`"}`, size>>19)
			stalled = append(stalled, stall(t, server, "/api/v1/telemetry/", "Authorization: Token "+r.agent+"\r\n", []byte(body)))
		}
	}
	large := "[" + native + strings.Repeat(","+native, 3000) + "]"
	for _, body := range []string{native, large} {
		w, err := http.NewRequest("POST", server.URL+"/api/v1/telemetry/", strings.NewReader(body))
		testenv.Check(t, err)
		w.Header.Set("Authorization", "Token "+r.collector)
		resp, err := http.DefaultClient.Do(w)
		testenv.Check(t, err)
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("a body of %d bytes: %d %s", len(body), resp.StatusCode, text)
		}
	}
	for i, s := range stalled {
		status, err := s.ReadString('\n')
		testenv.Check(t, err)
		if !strings.Contains(status, "408") && !strings.Contains(status, "503") {
			t.Fatalf("stalled request %d: %s", i, status)
		}
	}
}

// A client that opens many HTTP/2 streams loses its connections before others do.
func TestManyStreams(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	server := httptest.NewUnstartedServer(r.mux)
	conns := httpapi.NewConnLimiter(100)
	conns.Install(server.Config)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer server.CloseClientConnections()
	pool := server.Client().Transport.(*http.Transport).TLSClientConfig
	client := func() *http.Client {
		return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool.RootCAs}}}
	}
	var streams sync.WaitGroup
	defer streams.Wait()
	for range 5 {
		hostile := client()
		for range 60 {
			body, rest := io.Pipe()
			defer rest.Close()
			streams.Go(func() {
				req, err := http.NewRequest("POST", server.URL+"/api/v1/telemetry/", body)
				testenv.Check(t, err)
				req.Header.Set("Authorization", "Token "+r.agent)
				if resp, err := hostile.Do(req); err == nil {
					resp.Body.Close()
				}
			})
		}
		req, err := http.NewRequest("POST", server.URL+"/api/v1/telemetry/", strings.NewReader(native))
		testenv.Check(t, err)
		req.Header.Set("Authorization", "Token "+r.collector)
		resp, err := client().Do(req)
		testenv.Check(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated || resp.ProtoMajor != 2 {
			t.Fatalf("another client: %s %s", resp.Status, resp.Proto)
		}
	}
	testenv.Until(t, "a connection closed for its requests", func() bool { _, closed := conns.Counts(); return closed > 0 })
}

// A slowQueue takes longer than the grace of a body.
type slowQueue struct {
	ingest.Enqueuer
	wait time.Duration
}

func (q slowQueue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	select {
	case <-time.After(q.wait):
		return q.Enqueuer.Enqueue(ctx, m, rejected...)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The time for a body does not limit what happens once it has arrived.
func TestSlowQueue(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	const grace = 100 * time.Millisecond
	mux := httpapi.NewMux(slog.New(slog.DiscardHandler))
	ingest.New(slowQueue{r.queue, 5 * grace}, r.tokens, ingest.Options{BodyGrace: grace}).Routes(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	fmt.Fprintf(z, `{"message":"%s"}`, strings.Repeat("x", 500<<10)) // read in several chunks after the last byte has arrived
	testenv.Check(t, z.Close())
	req, err := http.NewRequest("POST", server.URL+"/api/v1/telemetry", &body)
	testenv.Check(t, err)
	req.Header = http.Header{"Authorization": {"Token " + r.collector}, "Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	resp, err := http.DefaultClient.Do(req)
	testenv.Check(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("answered %s", resp.Status)
	}
}
