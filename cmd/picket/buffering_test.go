//go:build unix

package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// While the broker is away, /readyz and the metrics say what waits in the disk buffer.
// The server is ready until the buffer is full, and again by itself once the broker is
// back.
func TestBufferingIsVisible(t *testing.T) {
	t.Parallel()
	for name, protocol := range map[string]string{"redis": "", "celery": "celery+"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t, redistest.DurableArgs...)
			c := newTestCluster(t, "--queue", protocol+redis.URL()+"?lease=2s", "--spill-bytes", "100000")
			c.startServer()
			token := c.createToken("--collector", "load")
			get := func(path string) (int, string) { return c.request(http.MethodGet, path, "", "") }
			n := 0
			post := func() int {
				n++
				status, _ := c.request(http.MethodPost, "/api/v1/telemetry/", token, `{"event_type":"x","host":"h","n":"`+strings.Repeat(string(rune('a'+n%26)), 1000+n)+`"}`)
				return status
			}
			if status := post(); status != http.StatusCreated {
				t.Fatal(status)
			}
			redis.Kill()
			for range 3 {
				if status := post(); status != http.StatusCreated {
					t.Fatal(status)
				}
			}
			if status, body := get("/readyz"); status != http.StatusOK || !strings.Contains(body, "buffered on the server's disk until the queue is reachable: 3 batches, 3 events, the oldest for ") {
				t.Errorf("%d %s", status, body)
			}
			if _, body := get("/metrics"); !strings.Contains(body, "\npicket_disk_buffer_batches 3\n") || !strings.Contains(body, "\npicket_disk_buffer_oldest_age_seconds ") ||
				!strings.Contains(body, "\npicket_reachable{part=\"queue\"} 0\n") || !strings.Contains(body, "\npicket_reachable{part=\"store\"} 1\n") {
				t.Errorf("metrics: %s", body)
			}
			testenv.Until(t, "the buffer is full", func() bool { return post() == http.StatusServiceUnavailable })
			if status, body := get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"queue":"the queue is full; keep the events and try again; batches are buffered`) {
				t.Errorf("%d %s", status, body)
			}
			if _, body := get("/metrics"); !strings.Contains(body, "\npicket_intake_refused_total{cause=\"queue_full\"} 1\n") {
				t.Errorf("metrics: %s", body)
			}
			redis.StartAgain()
			testenv.Until(t, "the server is ready", func() bool {
				status, body := get("/readyz")
				return status == 200 && strings.Contains(body, `"queue":"ok"`)
			})
			if _, body := get("/metrics"); !strings.Contains(body, "\npicket_disk_buffer_batches 0\n") {
				t.Errorf("metrics: %s", body)
			}
			log := c.server.stderr.String()
			for _, line := range []string{"queue unreachable; buffering batches", "disk buffer full; batches are refused", "disk buffer has room again", "queue reachable again"} {
				if n := strings.Count(log, line); n != 1 {
					t.Errorf("%d lines %q in the log:\n%s", n, line, log)
				}
			}
		})
	}
}
