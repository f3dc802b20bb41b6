package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A loadTest is clients that post to a server which comes and goes: each keeps a
// batch until it is answered, as agents do.
type loadTest struct {
	regroups bool // the queue delivers again in other batches
	t        *testing.T
	http     *http.Client
	url      string
	token    string // of a collector
	api      string // of a reader

	clients sync.WaitGroup
	pause   time.Duration // of each client after a batch: others need the cores too
	quit    chan struct{}
	acked   atomic.Int64 // batches

	mu    sync.Mutex
	sent  map[string]bool // event id to whether it fires the first-alert rule
	tries int
}

const (
	loadClients = 4
	loadBatch   = 20
	// fires is a command line that fires the rule firstAlert.
	fires      = "sh -c : picket-first-alert"
	firstAlert = "9b170e7e-feb7-517f-ad35-a5179b0a1d0e"
)

// startLoad makes tokens on the server that is up, and starts posting.
func startLoad(f *testCluster) *loadTest {
	f.t.Helper()
	return startPaced(f, 2*time.Millisecond)
}

// startPaced is startLoad with a pause of one's own.
func startPaced(f *testCluster, pause time.Duration) *loadTest {
	f.t.Helper()
	return startLoadBy(http.DefaultClient, f, pause)
}

// startLoadBy is startPaced with a client of one's own.
func startLoadBy(client *http.Client, f *testCluster, pause time.Duration) *loadTest {
	f.t.Helper()
	l := &loadTest{
		t: f.t, http: client, pause: pause, url: f.url(), token: f.token("--collector", "load"), api: f.token("--api", "test", "--role", "admin"),
		quit: make(chan struct{}), sent: make(map[string]bool),
	}
	for c := range loadClients {
		l.clients.Go(func() { l.client(c) })
	}
	f.t.Cleanup(func() { l.stop() })
	return l
}

// client posts batch after batch until the load halts, and one that bears an
// event without what it must have now and then.
func (l *loadTest) client(c int) {
	for n := 0; ; n++ {
		var body bytes.Buffer
		for i := range loadBatch {
			id, command := fmt.Sprintf("c%d-%d-%d", c, n, i), "ls -l"
			if i == n%loadBatch {
				command = fires
			}
			l.mu.Lock()
			l.sent[id] = command == fires
			l.mu.Unlock()
			fmt.Fprintf(&body, "%s\n", eventJSON(id, fmt.Sprintf("host%d", n%3), command))
		}
		if n%7 == 0 {
			fmt.Fprintf(&body, `{"event_id":"bad-%d-%d","event_type":"process"}`+"\n", c, n)
		}
		for !l.post(body.Bytes()) {
			// A server that is down answers at once: the pause spares the core.
			select {
			case <-time.After(10 * time.Millisecond):
			case <-l.t.Context().Done():
				return
			}
		}
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

// post reports whether the server has taken the batch.
func (l *loadTest) post(body []byte) bool {
	l.mu.Lock()
	l.tries++
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

// waitForBatches waits until so many further batches are acknowledged.
func (l *loadTest) waitForBatches(batches int64) {
	l.t.Helper()
	want := l.acked.Load() + batches
	testenv.Until(l.t, "batches acknowledged", func() bool { return l.acked.Load() >= want })
}

// runFor holds that batches are acknowledged all along a time, but for the
// first moments.
func (l *loadTest) runFor(d time.Duration) {
	l.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		l.waitForBatches(1)
	}
}

// attempts is how many requests were made.
func (l *loadTest) attempts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tries
}

// stop lets each client see its last batch through. The server must be up.
func (l *loadTest) stop() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	l.clients.Wait()
}

// check waits until the queue is empty and then accounts for every event,
// match and alert. The load has halted by then.
func (l *loadTest) check() {
	l.t.Helper()
	l.waitUntilEmpty()
	fired := 0
	for _, f := range l.sent {
		if f {
			fired++
		}
	}
	got := make(map[string]int)
	l.getAll("/api/v1/events?", "events", func(row map[string]any) { got[row["event_id"].(string)]++ })
	for id := range l.sent {
		if got[id] != 1 {
			l.t.Errorf("event %s is there %d times", id, got[id])
		}
	}
	if len(got) != len(l.sent) {
		l.t.Errorf("%d events are stored, of %d sent", len(got), len(l.sent))
	}
	matched := make(map[string]int)
	testenv.Until(l.t, "all matches", func() bool {
		clear(matched)
		l.getAll("/api/v1/matches?rule_id="+firstAlert+"&", "matches", func(row map[string]any) { matched[row["event_id"].(string)]++ })
		return len(matched) >= fired
	})
	for id, f := range l.sent {
		if want := map[bool]int{true: 1}[f]; matched[id] != want {
			l.t.Errorf("event %s has %d matches, not %d", id, matched[id], want)
		}
	}
	count := 0
	l.getAll("/api/v1/alerts?rule_id="+firstAlert+"&", "alerts", func(row map[string]any) { count += int(row["count"].(float64)) })
	if count != fired {
		l.t.Errorf("alerts count %d matches, not %d", count, fired)
	}
	l.checkCounters()
}

// checkMany waits until the correlation manyRule has all that fired, each
// once, in one alert a host.
func (l *loadTest) checkMany() {
	l.t.Helper()
	fired := 0
	for _, f := range l.sent {
		if f {
			fired++
		}
	}
	testenv.Until(l.t, "all events in the alerts of the correlation", func() bool {
		alerts, count := 0, 0
		l.getAll("/api/v1/alerts?rule_id="+many+"&", "alerts", func(row map[string]any) {
			alerts++
			count += int(row["count"].(float64))
		})
		if alerts > 3 || count > fired {
			l.t.Fatalf("%d alerts of %d events, of 3 hosts and %d", alerts, count, fired)
		}
		return count == fired
	})
	// A store on several machines may show an alert a moment before its matches.
	listed := make(map[string]bool)
	testenv.Until(l.t, "all matches of the correlation", func() bool {
		clear(listed)
		l.getAll("/api/v1/matches?rule_id="+many+"&", "matches", func(row map[string]any) { listed[row["event_id"].(string)] = true })
		return len(listed) >= fired
	})
	for event := range listed {
		if !l.sent[event] {
			l.t.Errorf("event %s is in an alert", event)
		}
	}
	if len(listed) != fired {
		l.t.Errorf("%d events are in alerts, not %d", len(listed), fired)
	}
}

// checkCounters holds that every event received is accounted for.
func (l *loadTest) checkCounters() {
	l.t.Helper()
	text := l.get("/metrics")
	counter := func(outcome string) (n int) {
		v, _ := metric(text, `picket_events_total{outcome="`+outcome+`"}`)
		if _, err := fmt.Sscan(v, &n); err != nil {
			l.t.Fatalf("counter of %s is %q", outcome, v)
		}
		return n
	}
	received, stored, duplicate := counter("received"), counter("stored"), counter("duplicate")
	rejected, dead := counter("rejected"), counter("dead")
	l.t.Logf("%d batches, %d events, %d requests: received %d, stored %d, duplicate %d, rejected %d, dead %d",
		l.acked.Load(), len(l.sent), l.tries, received, stored, duplicate, rejected, dead)
	known := stored + duplicate + rejected + dead
	if l.regroups && received < known {
		known = received // what came again did so in another batch, as duplicates
	}
	if received != known {
		l.t.Error("received is not stored + duplicate + rejected + dead")
	}
	if stored != len(l.sent) || dead != 0 {
		l.t.Errorf("%d stored and %d dead, of %d", stored, dead, len(l.sent))
	}
}

// waitUntilEmpty waits until no event waits in the queue.
func (l *loadTest) waitUntilEmpty() {
	l.t.Helper()
	testenv.Until(l.t, "an empty queue", func() bool {
		v, _ := metric(l.get("/metrics"), "picket_events_waiting")
		return v == "0"
	})
}

// get reads a page. An engine that is away for a moment is waited for.
func (l *loadTest) get(path string) (body string) {
	l.t.Helper()
	testenv.Until(l.t, "an answer to "+path, func() bool {
		req, err := http.NewRequest(http.MethodGet, l.url+path, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Token "+l.api)
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
			l.t.Fatalf("GET %s: %d %s %v", path, resp.StatusCode, text, err)
		}
		body = string(text)
		return true
	})
	return body
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
