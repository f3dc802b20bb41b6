package agent_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// A server records the telemetry that it accepts. answer may respond instead; it is an
// answer of picket's to this batch, unless it removes X-Picket-Batch.
type server struct {
	*httptest.Server
	token  agent.TokenInfo                                                    // the zero value: an older server, which does not know
	answer func(w http.ResponseWriter, r *http.Request, events []string) bool // true: it answered

	mu     sync.Mutex // guards the rest
	events []string   // in the order taken
	posts  int
	last   http.Header
	// dropped is the sum of what was reported as lost.
	dropped int64
}

func newServer(t *testing.T) *server {
	s := new(server)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet && r.URL.Path == "/api/v1/token" {
		if s.token == (agent.TokenInfo{}) {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(s.token)
		return
	}
	s.posts++
	s.last = r.Header.Clone()
	w.Header().Set("X-Picket-Batch", r.Header.Get("X-Picket-Batch"))
	z, err := zstd.NewReader(r.Body)
	if err != nil {
		panic(err)
	}
	defer z.Close()
	body, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(body, &raws); err != nil {
		panic(err)
	}
	var events []string
	for _, raw := range raws {
		events = append(events, string(raw))
	}
	if r.URL.Path != "/api/v1/telemetry/" || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	if s.answer != nil && s.answer(w, r, events) {
		return
	}
	s.events = append(s.events, events...)
	n, _ := strconv.ParseInt(r.Header.Get("X-Picket-Dropped"), 10, 64)
	s.dropped += n
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"status":"accepted","batch_size":%d,"failed":0}`, len(events))
}

func (s *server) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// list is a source of given events; then it ends, or waits for ctx. A position is
// the number of events before it.
type list struct {
	events []string
	hang   bool
}

func (l list) Events(ctx context.Context, from agent.Position) iter.Seq2[agent.Event, error] {
	first, _ := strconv.Atoi(string(from)) // "" is the beginning
	return func(yield func(agent.Event, error) bool) {
		for i, e := range l.events[first:] {
			if !yield(agent.Event{Data: []byte(e), Position: agent.Position(strconv.Itoa(first + i + 1))}, nil) {
				return
			}
		}
		if l.hang {
			<-ctx.Done()
		}
	}
}

func numbered(n int) list {
	var l list
	for i := range n {
		l.events = append(l.events, fmt.Sprintf(`{"event_id":"e%d"}`, i))
	}
	return l
}

func newSpool(t *testing.T, o sqlitequeue.Options) *sqlitequeue.Queue {
	t.Helper()
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	q, err := sqlitequeue.Open(filepath.Join(t.TempDir(), "spool.db"), o)
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, q.Close()) })
	return q
}

func newClient(t *testing.T, url string) *agent.Client {
	t.Helper()
	c, err := agent.NewClient(agent.ClientOptions{Server: url, Token: "secret", Version: "1.2"})
	testenv.Check(t, err)
	return c
}

// fastOptions are options of an agent with short delays.
func fastOptions(t *testing.T, s *server, spool agent.Spool, src agent.Source) agent.Options {
	return agent.Options{
		Spool: spool, Client: newClient(t, s.URL),
		Inputs:     []agent.Input{{Name: "test", Source: src}},
		BatchAge:   testenv.Timeout, // on a busy machine, a shorter one splits batches
		RetryDelay: time.Millisecond, MaxRetryDelay: 5 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// run runs an agent until its sources have ended and all is posted.
func run(t *testing.T, o agent.Options) agent.MetricsSnapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	a := agent.New(o)
	testenv.Check(t, a.Run(ctx))
	testenv.Check(t, ctx.Err())
	return a.Metrics()
}

func wantEvents(t *testing.T, s *server, want list) {
	t.Helper()
	checkEvents(t, s.got(), want)
}

// wantEventsOnce is wantEvents after a run that was stopped: the server may have
// accepted a batch whose answer the agent did not read, and gets it again. It knows the
// batch by its events' ids.
func wantEventsOnce(t *testing.T, s *server, want list) {
	t.Helper()
	seen := make(map[string]bool)
	checkEvents(t, slices.DeleteFunc(slices.Clone(s.got()), func(event string) bool {
		again := seen[event]
		seen[event] = true
		return again
	}), want)
}

func checkEvents(t *testing.T, got []string, want list) {
	t.Helper()
	if len(got) != len(want.events) {
		t.Fatalf("server has %d events, want %d", len(got), len(want.events))
	}
	for i := range got {
		if got[i] != want.events[i] {
			t.Fatalf("event %d is %s, want %s", i, got[i], want.events[i])
		}
	}
}

func TestPostsInOrder(t *testing.T) {
	s, src := newServer(t), numbered(1234)
	o := fastOptions(t, s, newSpool(t, sqlitequeue.Options{}), src)
	o.BatchEvents = 100
	m := run(t, o)
	wantEvents(t, s, src)
	if s.posts != 13 {
		t.Errorf("%d posts, want 13", s.posts)
	}
	for name, want := range map[string]string{
		"Authorization": "Token secret", "Content-Type": "application/json", "Content-Encoding": "zstd",
		"User-Agent": "picket-agent/1.2", "X-Picket-Dropped": "",
	} {
		if got := s.last.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if want := (agent.MetricsSnapshot{Read: 1234, Spooled: 1234, Posted: 1234}); m != want {
		t.Errorf("metrics %+v, want %+v", m, want)
	}
}

func TestBatchBytes(t *testing.T) {
	s, src := newServer(t), numbered(100)
	o := fastOptions(t, s, newSpool(t, sqlitequeue.Options{}), src)
	o.BatchBytes = 10 * (len(src.events[99]) + 1)
	s.answer = func(_ http.ResponseWriter, _ *http.Request, events []string) bool {
		if len(events) > 11 {
			t.Errorf("%d events in a batch", len(events))
		}
		return false
	}
	run(t, o)
	wantEvents(t, s, src)
}

// An event is posted once the batch has reached its maximum age.
func TestBatchAge(t *testing.T) {
	s, src := newServer(t), numbered(1)
	src.hang = true
	ctx, cancel := context.WithCancel(t.Context())
	s.answer = func(http.ResponseWriter, *http.Request, []string) bool { cancel(); return false }
	o := fastOptions(t, s, newSpool(t, sqlitequeue.Options{}), src)
	o.BatchAge = 10 * time.Millisecond
	testenv.Check(t, agent.New(o).Run(ctx))
	wantEvents(t, s, src)
}

// Events that were not posted when the agent stopped are posted by the next one.
func TestStopKeepsSpool(t *testing.T) {
	s, src := newServer(t), numbered(50)
	path := filepath.Join(t.TempDir(), "spool.db")
	spool, err := sqlitequeue.Open(path, sqlitequeue.Options{})
	testenv.Check(t, err)
	src.hang = true
	ctx, cancel := context.WithCancel(t.Context())
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	o := fastOptions(t, s, spool, src)
	o.BatchAge = 10 * time.Millisecond
	testenv.Check(t, agent.New(o).Run(ctx))
	s.mu.Lock()
	s.answer = nil
	s.mu.Unlock()
	testenv.Check(t, spool.Close())
	spool, err = sqlitequeue.Open(path, sqlitequeue.Options{})
	testenv.Check(t, err)
	run(t, fastOptions(t, s, spool, list{}))
	testenv.Check(t, spool.Close())
	wantEvents(t, s, src)
}
