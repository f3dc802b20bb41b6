package agent_test

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/zst"
)

// The agent keeps a batch, and the order of batches, until the server responds
// 201.
func TestServerErrors(t *testing.T) {
	for name, trouble := range map[string]func(w http.ResponseWriter){
		"503":          func(w http.ResponseWriter) { w.WriteHeader(503) },
		"500":          func(w http.ResponseWriter) { http.Error(w, "oops", 500) },
		"429":          func(w http.ResponseWriter) { w.WriteHeader(429) },
		"401":          func(w http.ResponseWriter) { w.WriteHeader(401) },
		"403":          func(w http.ResponseWriter) { w.WriteHeader(403) },
		"404":          func(w http.ResponseWriter) { w.WriteHeader(404) },
		"redirect":     func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(308) },
		"202":          func(w http.ResponseWriter) { w.WriteHeader(202) },
		"cut off":      func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"cut off late": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "100"); w.WriteHeader(201) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, src := newServer(t), numbered(30)
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
				if s.posts%3 == 0 {
					return false
				}
				trouble(w)
				return true
			}
			o := fastOptions(t, s, newSpool(t, sqlitequeue.Options{}), src)
			o.BatchEvents = 10
			m := run(t, o)
			wantEvents(t, s, src)
			if m.Posted != 30 || m.Dropped != 0 || m.Retries != 6 {
				t.Errorf("metrics %+v", m)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	s, src := newServer(t), numbered(1)
	var first time.Time
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		if s.posts == 1 {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
			return true
		}
		if took := time.Since(first); took < time.Second {
			t.Errorf("tried again after %v, and was asked to wait 1 s", took)
		}
		return false
	}
	run(t, fastOptions(t, s, newSpool(t, sqlitequeue.Options{}), src))
	wantEvents(t, s, src)
}

// Rejected events are counted, and their batch is not sent again.
func TestRejectedEvents(t *testing.T) {
	for name, answer := range map[string]string{
		"201":           `{"status":"accepted","failed":2,"errors":[{"index":1,"event_id":"e1","reason":"x"},{"index":3,"event_id":"e3","reason":"y"}]}`,
		"400":           `{"status":"error","errors":[{},{"host":["This field is required."]},{},{"host":["no"]}]}`,
		"400 not named": `{"detail":"JSON parse error"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, spool := newServer(t), newSpool(t, sqlitequeue.Options{})
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
				if name == "201" {
					w.WriteHeader(201)
				} else {
					w.WriteHeader(400)
				}
				fmt.Fprint(w, answer)
				return true
			}
			m := run(t, fastOptions(t, s, spool, numbered(4)))
			st, err := spool.Stats(t.Context())
			testenv.Check(t, err)
			wantRefused, wantDead := int64(2), int64(0)
			if name == "400 not named" { // these exist nowhere else, so they are kept
				wantRefused, wantDead = 4, 1
			}
			if m.Rejected != wantRefused || st.Dead != wantDead || s.posts != 1 {
				t.Errorf("metrics %+v, %d posts, %d dead letters", m, s.posts, st.Dead)
			}
		})
	}
}

// A batch that is too large is split until its parts are accepted. An event that
// is too large by itself becomes a dead letter.
func TestTooLarge(t *testing.T) {
	s, src := newServer(t), numbered(20)
	const huge = 13
	src.events[huge] = `{"event_id":"huge"}`
	s.answer = func(w http.ResponseWriter, _ *http.Request, events []string) bool {
		if len(events) > 3 || strings.Contains(strings.Join(events, ""), "huge") {
			w.WriteHeader(413)
			fmt.Fprint(w, `{"detail":"the event is larger than 1048576 bytes"}`)
			return true
		}
		return false
	}
	spool := newSpool(t, sqlitequeue.Options{})
	m := run(t, fastOptions(t, s, spool, src))
	wantEvents(t, s, list{events: append(src.events[:huge:huge], src.events[huge+1:]...)})
	if m.Posted != 19 || m.Rejected != 1 {
		t.Errorf("metrics %+v", m)
	}
	dead, err := spool.DeadLetters(t.Context(), 0, 10)
	testenv.Check(t, err)
	if len(dead.DeadLetters) != 1 || dead.DeadLetters[0].Events != 1 || !strings.Contains(dead.DeadLetters[0].Cause, "larger than 1048576") {
		t.Fatalf("dead letters %+v", dead.DeadLetters)
	}
	content, err := zst.Decompress(nil, dead.DeadLetters[0].Payload)
	if string(content) != "["+`{"event_id":"huge"}`+"]" || err != nil {
		t.Errorf("dead letter of %q, %v", content, err)
	}
}

// A full spool drops the newest events and counts them, or blocks the source.
func TestSpoolFull(t *testing.T) {
	var bulky list
	for i := range 40 {
		e := fmt.Sprintf(`{"event_id":"e%d","x":"`, i)
		for n := range 300 {
			e += fmt.Sprint((n*7919 + i*104729) % 65537)
		}
		bulky.events = append(bulky.events, e+`"}`)
	}
	for _, wait := range []bool{false, true} {
		t.Run(fmt.Sprintf("wait=%t", wait), func(t *testing.T) {
			s := newServer(t)
			spooled := make(chan struct{})
			s.answer = func(http.ResponseWriter, *http.Request, []string) bool {
				if s.posts == 1 && !wait {
					<-spooled // the server is slow until the source has ended
				}
				return false
			}
			o := fastOptions(t, s, newSpool(t, sqlitequeue.Options{MaxBytes: 8000}), ending{bulky, spooled})
			o.BatchEvents = 2
			o.Inputs[0].Lossless = wait
			m := run(t, o)
			if m.Posted+m.Dropped != 40 || wait != (m.Dropped == 0) {
				t.Errorf("metrics %+v", m)
			}
			// What was dropped leaves a gap; the order stays.
			got, at := s.got(), 0
			for _, e := range bulky.events {
				if at < len(got) && got[at] == e {
					at++
				}
			}
			if at != len(got) || int64(at) != m.Posted {
				t.Errorf("%d events are in order, of %d that the server has and %d posted", at, len(got), m.Posted)
			}
			if s.dropped > m.Dropped {
				t.Errorf("%d events reported as dropped, of %d", s.dropped, m.Dropped)
			}
		})
	}
}

func TestReportsDropped(t *testing.T) {
	s := newServer(t)
	_, err := newClient(t, s.URL).Post(t.Context(), queue.Message{ID: "b", Events: 1, Payload: zst.CompressForSpeed(nil, []byte(`[{}]`))}, 7)
	testenv.Check(t, err)
	if s.dropped != 7 {
		t.Errorf("%d events reported as dropped, want 7", s.dropped)
	}
}

// ending closes a channel when its source has ended.
type ending struct {
	list
	done chan struct{}
}

func (e ending) Events(ctx context.Context, from agent.Position) iter.Seq2[agent.Event, error] {
	return func(yield func(agent.Event, error) bool) {
		defer close(e.done)
		for ev, err := range e.list.Events(ctx, from) {
			if !yield(ev, err) {
				return
			}
		}
	}
}

func TestClientRefusesPlaintextToken(t *testing.T) {
	for server, ok := range map[string]bool{
		"https://picket.example.org":     true,
		"http://localhost:8000":          true,
		"http://127.0.0.1:8000/prefix":   true,
		"http://[::1]:8000":              true,
		"http://picket.example.org":      false,
		"http://10.0.0.1:8000":           false,
		"http://localhost.evil.example/": false,
		"picket.example.org":             false,
		"ftp://localhost":                false,
		"127.0.0.1:8000":                 false,
	} {
		_, err := agent.NewClient(agent.ClientOptions{Server: server})
		if (err == nil) != ok || err != nil && !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("%s: %v", server, err)
		}
		if !strings.Contains(server, "://") && (err == nil || !strings.Contains(err.Error(), "it must begin with https:// or http://")) {
			t.Errorf("%s: %v", server, err)
		}
	}
	_, err := agent.NewClient(agent.ClientOptions{Server: "http://10.0.0.1:8000", Insecure: true})
	testenv.Check(t, err)
}

func TestTLS(t *testing.T) {
	s := new(server)
	s.Server = httptest.NewTLSServer(s)
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	testenv.Check(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	c, err := agent.NewClient(agent.ClientOptions{Server: s.URL, CAFile: ca})
	testenv.Check(t, err)
	o := agent.Options{Spool: newSpool(t, sqlitequeue.Options{}), Client: c, Inputs: []agent.Input{{Source: numbered(3)}},
		BatchAge: time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
	run(t, o)
	wantEvents(t, s, numbered(3))

	c, err = agent.NewClient(agent.ClientOptions{Server: s.URL})
	testenv.Check(t, err)
	if _, err := c.Post(t.Context(), queue.Message{}, 0); err == nil {
		t.Error("posted to a server with an untrusted certificate")
	}
}

// A notifyingSpool sends on a channel for each batch that it has stored.
type notifyingSpool struct {
	*sqlitequeue.Queue
	took chan<- struct{}
}

func (s notifyingSpool) Enqueue(ctx context.Context, m queue.Message, ls ...queue.DeadLetter) error {
	err := s.Queue.Enqueue(ctx, m, ls...)
	if err == nil {
		s.took <- struct{}{}
	}
	return err
}

// An agent is killed while the server rejects everything. The next agent posts all
// events that were spooled.
func TestKill(t *testing.T) {
	const pathEnv, urlEnv = "PICKET_SPOOL_PATH", "PICKET_SERVER_URL"
	if path := os.Getenv(pathEnv); path != "" {
		spool, err := sqlitequeue.Open(path, sqlitequeue.Options{})
		testenv.Check(t, err)
		src := numbered(1000)
		src.hang = true
		spooled := make(chan struct{}, 100)
		a := agent.New(agent.Options{Spool: notifyingSpool{spool, spooled}, Client: newClient(t, os.Getenv(urlEnv)), BatchEvents: 10,
			Inputs: []agent.Input{{Source: src}}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		go a.Run(t.Context())
		for range 100 {
			<-spooled
		}
		fmt.Println("\nspooled")
		<-t.Context().Done()
		return
	}
	s := newServer(t)
	s.mu.Lock()
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool { w.WriteHeader(503); return true }
	s.mu.Unlock()
	path := filepath.Join(t.TempDir(), "spool.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.timeout="+testenv.Timeout.String())
	cmd.Env = append(os.Environ(), pathEnv+"="+path, urlEnv+"="+s.URL)
	out, err := cmd.StdoutPipe()
	testenv.Check(t, err)
	testenv.Check(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "spooled"; {
	}
	testenv.Check(t, cmd.Process.Kill())
	cmd.Wait()
	s.mu.Lock()
	s.answer = nil
	s.mu.Unlock()
	spool, err := sqlitequeue.Open(path, sqlitequeue.Options{})
	testenv.Check(t, err)
	defer spool.Close()
	run(t, fastOptions(t, s, spool, list{}))
	wantEvents(t, s, numbered(1000))
}
