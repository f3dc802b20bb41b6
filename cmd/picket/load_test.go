package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A loadTest is clients that post to a server which may be down at times: like
// agents, each retries a batch until it is acknowledged.
type loadTest struct {
	regroups bool // the queue redelivers messages in other batches
	t        *testing.T
	http     *http.Client
	url      string
	token    string // of a collector
	apiToken string

	clients sync.WaitGroup
	pause   time.Duration
	quit    chan struct{}
	acked   atomic.Int64 // batches

	mu       sync.Mutex
	sent     map[string]bool // event id to whether it matches firstAlertRule
	accepted []string        // ids of the events that were acknowledged
	rejected []string        // and of those that were rejected with them
	requests int
	requeued int // events of dead letters that were requeued
}

const (
	loadClients = 4
	loadBatch   = 20
	// firstAlertRule is the id of a built-in rule that firstAlertCommand matches.
	firstAlertRule    = "9b170e7e-feb7-517f-ad35-a5179b0a1d0e"
	firstAlertCommand = "sh -c : picket-first-alert"
)

// loadOptions adapt a load.
type loadOptions struct {
	pause  time.Duration // of each client after a batch; 2 ms
	client *http.Client  // http.DefaultClient
}

// startLoad creates tokens on the running server, and starts posting.
func startLoad(c *testCluster, o loadOptions) *loadTest {
	c.t.Helper()
	l := &loadTest{
		t: c.t, http: cmp.Or(o.client, http.DefaultClient), pause: cmp.Or(o.pause, 2*time.Millisecond), url: c.url(),
		token: c.createToken("--collector", "load"), apiToken: c.createToken("--api", "test", "--role", "admin"),
		quit: make(chan struct{}), sent: make(map[string]bool),
	}
	for n := range loadClients {
		l.clients.Go(func() { l.client(n) })
	}
	c.t.Cleanup(l.stop)
	return l
}

// client posts batches until the load is stopped. Some contain an event that is
// invalid.
func (l *loadTest) client(c int) {
	for n := 0; ; n++ {
		var body bytes.Buffer
		var ids, bad []string
		for i := range loadBatch {
			id, command := fmt.Sprintf("c%d-%d-%d", c, n, i), "ls -l"
			if i == n%loadBatch {
				command = firstAlertCommand
			}
			l.mu.Lock()
			l.sent[id] = command == firstAlertCommand
			l.mu.Unlock()
			ids = append(ids, id)
			fmt.Fprintf(&body, "%s\n", eventJSON(id, fmt.Sprintf("host%d", n%3), command))
		}
		if n%7 == 0 {
			bad = append(bad, fmt.Sprintf("bad-%d-%d", c, n))
			fmt.Fprintf(&body, `{"event_id":%q,"event_type":"process"}`+"\n", bad[0])
		}
		for !l.post(body.Bytes()) {
			// A connection to a server that is down fails at once; do not spin.
			select {
			case <-time.After(10 * time.Millisecond):
			case <-l.t.Context().Done():
				return
			}
		}
		l.mu.Lock()
		l.accepted, l.rejected = append(l.accepted, ids...), append(l.rejected, bad...)
		l.mu.Unlock()
		l.acked.Add(1)
		select {
		case <-l.quit:
			return
		case <-time.After(l.pause):
		}
	}
}

func eventJSON(id, host, command string) string {
	return fmt.Sprintf(`{"agent_id":%q,"event_id":%q,"event_type":"process","timestamp":1764000000,"severity":"info","version":"1.0",`+
		`"host":{"hostname":%q,"os":"Linux"},"process":{"name":"/bin/sh","pid":1,"command_line":%q,"user":"u"}}`, host, id, host, command)
}

// post posts a batch, and reports whether the server acknowledged it.
func (l *loadTest) post(body []byte) bool {
	l.mu.Lock()
	l.requests++
	l.mu.Unlock()
	req, err := http.NewRequest(http.MethodPost, l.url+"/api/v1/telemetry/", bytes.NewReader(body))
	if err != nil {
		l.t.Error(err)
		return false
	}
	req.Header.Set("Authorization", "Token "+l.token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := l.http.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
		l.t.Errorf("the server answered %d: %s", resp.StatusCode, answer)
	}
	if resp.StatusCode >= 429 && resp.Header.Get("Retry-After") == "" {
		l.t.Errorf("the server answered %d without Retry-After: %s", resp.StatusCode, answer)
	}
	return resp.StatusCode == http.StatusCreated && err == nil
}

// waitForBatches waits until n more batches have been acknowledged.
func (l *loadTest) waitForBatches(n int64) {
	l.t.Helper()
	want := l.acked.Load() + n
	testenv.Until(l.t, "batches acknowledged", func() bool { return l.acked.Load() >= want })
}

// runFor checks that batches are acknowledged all through a period.
func (l *loadTest) runFor(d time.Duration) {
	l.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		l.waitForBatches(1)
	}
}

// attempts returns how many requests have been sent.
func (l *loadTest) attempts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

// stop stops the clients once their current batches are acknowledged. The
// server must be running.
func (l *loadTest) stop() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	l.clients.Wait()
}

// matching returns how many of the events sent match firstAlertRule.
func (l *loadTest) matching() (n int) {
	for _, matches := range l.sent {
		if matches {
			n++
		}
	}
	return n
}

// check waits until the queue is empty, then checks that every event, match and
// alert is stored once. The load must be stopped.
func (l *loadTest) check() {
	l.t.Helper()
	l.waitUntilEmpty()
	l.requeueLost()
	want := l.matching()
	got := make(map[string]int)
	l.getAll("/api/v1/events?", "events", func(row map[string]any) { got[row["event_id"].(string)]++ })
	for id := range l.sent {
		if got[id] != 1 {
			l.t.Errorf("event %s is stored %d times", id, got[id])
		}
	}
	if len(got) != len(l.sent) {
		l.t.Errorf("%d events are stored, of %d sent", len(got), len(l.sent))
	}
	matched := make(map[string]int)
	testenv.Until(l.t, "all matches", func() bool {
		clear(matched)
		l.getAll("/api/v1/matches?rule_id="+firstAlertRule+"&", "matches", func(row map[string]any) { matched[row["event_id"].(string)]++ })
		return len(matched) >= want
	})
	for id, matches := range l.sent {
		if want := map[bool]int{true: 1}[matches]; matched[id] != want {
			l.t.Errorf("event %s has %d matches, want %d", id, matched[id], want)
		}
	}
	count := 0
	l.getAll("/api/v1/alerts?rule_id="+firstAlertRule+"&", "alerts", func(row map[string]any) { count += int(row["count"].(float64)) })
	if count != want {
		l.t.Errorf("alerts count %d matches, want %d", count, want)
	}
	l.checkCounters()
}

// checkCorrelation waits until correlationRule has matched all events that
// match firstAlertRule, each once, in one alert per host.
func (l *loadTest) checkCorrelation() {
	l.t.Helper()
	want := l.matching()
	testenv.Until(l.t, "all events in the alerts of the correlation", func() bool {
		alerts, count := 0, 0
		l.getAll("/api/v1/alerts?rule_id="+correlationID+"&", "alerts", func(row map[string]any) {
			alerts++
			count += int(row["count"].(float64))
		})
		if alerts > 3 || count > want {
			l.t.Fatalf("%d alerts count %d events, want at most 3 alerts and %d events", alerts, count, want)
		}
		return count == want
	})
	// In MongoDB an alert can be visible before its matches.
	listed := make(map[string]bool)
	testenv.Until(l.t, "all matches of the correlation", func() bool {
		clear(listed)
		l.getAll("/api/v1/matches?rule_id="+correlationID+"&", "matches", func(row map[string]any) { listed[row["event_id"].(string)] = true })
		return len(listed) >= want
	})
	for event := range listed {
		if !l.sent[event] {
			l.t.Errorf("event %s is in an alert", event)
		}
	}
	if len(listed) != want {
		l.t.Errorf("%d events are in alerts, want %d", len(listed), want)
	}
}

// checkCounters checks that the metrics account for every event received.
func (l *loadTest) checkCounters() {
	l.t.Helper()
	text := l.get("/metrics")
	counter := func(outcome string) (n int) {
		v, _ := metric(text, `picket_events_total{outcome="`+outcome+`"}`)
		if _, err := fmt.Sscan(v, &n); err != nil {
			l.t.Fatalf("counter %s is %q", outcome, v)
		}
		return n
	}
	received, stored, duplicate := counter("received"), counter("stored"), counter("duplicate")
	rejected, dead := counter("rejected"), counter("dead")
	l.t.Logf("%d batches, %d events, %d requests: received %d, stored %d, duplicate %d, rejected %d, dead %d",
		l.acked.Load(), len(l.sent), l.requests, received, stored, duplicate, rejected, dead)
	accounted := stored + duplicate + rejected + dead
	if l.regroups && received < accounted {
		accounted = received // events redelivered in another batch count as duplicates
	}
	if received != accounted {
		l.t.Error("received is not stored + duplicate + rejected + dead")
	}
	if stored != len(l.sent) || dead != l.requeued {
		l.t.Errorf("%d stored and %d dead, of %d", stored, dead, len(l.sent))
	}
}

// waitUntilEmpty waits until the queue is empty.
func (l *loadTest) waitUntilEmpty() {
	l.t.Helper()
	testenv.Until(l.t, "an empty queue", func() bool {
		v, _ := metric(l.get("/metrics"), "picket_events_waiting")
		return v == "0"
	})
}

// requeueLost does what an operator would who knows that nothing is wrong with a
// batch: on a slow machine four of a test's kills can hit the same batch.
func (l *loadTest) requeueLost() {
	l.t.Helper()
	var ids []string
	l.getAll("/api/v1/queue/dead?", "dead", func(row map[string]any) {
		if row["cause"] == "its worker was lost 4 times" {
			ids = append(ids, fmt.Sprint(int64(row["id"].(float64))))
			l.requeued += int(row["events"].(float64))
		}
	})
	if len(ids) == 0 {
		return
	}
	l.t.Logf("dead letters %s are requeued", ids)
	l.request(http.MethodPost, "/api/v1/queue/dead/requeue", `{"ids":[`+strings.Join(ids, ",")+`]}`)
	l.waitUntilEmpty()
}

// get returns the body of a page.
func (l *loadTest) get(path string) string {
	l.t.Helper()
	return l.request(http.MethodGet, path, "")
}

// request returns the body of an answer. It retries while the server answers 503.
func (l *loadTest) request(method, path, body string) (answer string) {
	l.t.Helper()
	testenv.Until(l.t, "an answer to "+path, func() bool {
		req, err := http.NewRequest(method, l.url+path, strings.NewReader(body))
		if err != nil {
			l.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Token "+l.apiToken)
		resp, err := l.http.Do(req)
		if err != nil {
			l.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if resp.StatusCode == http.StatusServiceUnavailable && err == nil {
			return false
		}
		if err != nil || resp.StatusCode != http.StatusOK {
			l.t.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, text, err)
		}
		answer = string(text)
		return true
	})
	return answer
}

// getAll calls row with each row of a list.
func (l *loadTest) getAll(path, list string, row func(map[string]any)) {
	l.t.Helper()
	for cursor := ""; ; {
		var page map[string]json.RawMessage
		var rows []map[string]any
		var next *string
		answer := l.get(path + "limit=1000&cursor=" + url.QueryEscape(cursor))
		err := json.Unmarshal([]byte(answer), &page)
		if err == nil {
			err = errors.Join(json.Unmarshal(page[list], &rows), json.Unmarshal(page["next"], &next))
		}
		if err != nil {
			l.t.Fatalf("read %s: %v: %.200s", path, err, answer)
		}
		for _, r := range rows {
			row(r)
		}
		if next == nil {
			return
		}
		cursor = *next
	}
}
