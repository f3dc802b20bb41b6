package agent_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// Answers that are not picket's, or not to this batch, lose no event: the agent sends the
// batch until picket itself answers. It logs each cause once, with what answered.
func TestForeignAnswers(t *testing.T) {
	html := func(status int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Del("X-Picket-Batch")
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			fmt.Fprint(w, "<html>\n<h1>Sign\x1b[31m in</h1>")
		}
	}
	answer := func(batch string, status int, body string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Del("X-Picket-Batch")
			if batch != "" {
				w.Header().Set("X-Picket-Batch", batch)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter)
		logged string
	}{
		"200 in HTML":            {html(200), "not picket's answer: 200 OK (text/html): <html> <h1>Sign [31m in</h1>"},
		"201 in HTML":            {html(201), "201 Created (text/html)"},
		"400 in HTML":            {html(400), "is this the address of a picket server"},
		"404 in HTML":            {html(404), "404 Not Found (text/html)"},
		"413 in HTML":            {html(413), "413 Request Entity Too Large (text/html)"},
		"422 in HTML":            {html(422), "422 Unprocessable Entity (text/html)"},
		"502 in HTML":            {html(502), "502 Bad Gateway (text/html)"},
		"401 in HTML":            {html(401), "is this the address of a picket server"},
		"201 of another program": {answer("", 201, `{"status":"accepted","id":7}`), "201 Created"},
		"201 of another size":    {answer("", 201, `{"status":"accepted","batch_size":9,"failed":0}`), "201 Created"},
		"201 to another batch":   {answer("other", 201, `{"status":"accepted","batch_size":10,"failed":0}`), "201 Created"},
		"400 of another program": {answer("", 400, `{"detail":"JSON parse error"}`), "400 Bad Request"},
		"400 of another size":    {answer("", 400, `{"status":"error","errors":[{"a":["b"]}]}`), "400 Bad Request"},
		"413 of another program": {answer("", 413, `{"detail":"too large"}`), "413 Request Entity Too Large"},
		"200 that is no JSON":    {answer("", 200, `ok`), "200 OK"},
		"204":                    {func(w http.ResponseWriter) { w.WriteHeader(204) }, "204 No Content"},
		"plain HTTP to a TLS port": {func(w http.ResponseWriter) {
			w.Header().Del("X-Picket-Batch")
			w.WriteHeader(400)
			fmt.Fprint(w, "Client sent an HTTP request to an HTTPS server.\n")
		}, "use https:// in --server"},
		"a redirect": {func(w http.ResponseWriter) {
			w.Header().Del("X-Picket-Batch")
			w.Header().Set("Location", "https://portal.example/")
			w.WriteHeader(307)
		}, "307 Temporary Redirect to https://portal.example/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, src, spool := newServer(t), numbered(30), newSpool(t, sqlitequeue.Options{})
			foreign := 0
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
				if foreign == 20 {
					return false
				}
				foreign++
				test.answer(w)
				return true
			}
			var log testenv.Buffer
			o := fastOptions(t, s, spool, src)
			o.BatchEvents, o.Logger = 10, slog.New(slog.NewTextHandler(&log, nil))
			run(t, o)
			wantEventsOnce(t, s, src)
			st, err := spool.Stats(t.Context())
			testenv.Check(t, err)
			if st.Dead != 0 {
				t.Errorf("%d dead letters", st.Dead)
			}
			if n := strings.Count(log.String(), "server does not accept events"); n != 1 || !strings.Contains(log.String(), test.logged) {
				t.Errorf("%d lines about it, %q wanted in one: %s", n, test.logged, log.String())
			}
		})
	}
}

// An older server does not name the batch; the number of events in its answer does.
func TestOlderServer(t *testing.T) {
	for name, older := range map[string]struct {
		status   int
		body     string
		rejected int64
	}{
		"accepted":     {201, `{"status":"accepted","message":"Queued 3 events for processing","batch_size":3,"failed":0}`, 0},
		"all rejected": {400, `{"status":"error","message":"Validation failed","errors":[{"host":["no"]},{"host":["no"]},{"host":["no"]}]}`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s, spool := newServer(t), newSpool(t, sqlitequeue.Options{})
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
				w.Header().Del("X-Picket-Batch")
				w.WriteHeader(older.status)
				fmt.Fprint(w, older.body)
				return true
			}
			if m := run(t, fastOptions(t, s, spool, numbered(3))); m.Rejected != older.rejected || m.Posted != 3-older.rejected || s.posts != 1 {
				t.Errorf("metrics %+v, %d posts", m, s.posts)
			}
		})
	}
}

// The connection is logged when it is made, lost and made again, not at each attempt.
func TestConnectionLog(t *testing.T) {
	s, src := newServer(t), numbered(50)
	s.token = agent.TokenInfo{Kind: "collector", Name: "c"}
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ []string) bool {
		switch {
		case s.posts >= 2 && s.posts < 6:
			panic(http.ErrAbortHandler)
		case s.posts >= 6 && s.posts < 9: // another cause
			w.Header().Del("X-Picket-Batch")
			w.WriteHeader(502)
			return true
		case s.posts >= 11 && s.posts < 14: // picket itself
			w.WriteHeader(503)
			fmt.Fprint(w, `{"detail":"queue full"}`)
			return true
		}
		return false
	}
	var log testenv.Buffer
	o := fastOptions(t, s, newSpool(t, sqlitequeue.Options{}), src)
	o.BatchEvents, o.Logger = 10, slog.New(slog.NewTextHandler(&log, nil))
	run(t, o)
	wantEventsOnce(t, s, src)
	for line, want := range map[string]int{
		"connected to the server": 2, "connection to the server lost": 1, "server does not accept events": 2, "server accepts events again": 1,
	} {
		if n := strings.Count(log.String(), line); n != want {
			t.Errorf("%q is logged %d times, not %d: %s", line, n, want, log.String())
		}
	}
}

// A token of another agent ends the agent before it has posted or spooled an event.
func TestTokenOfAnotherAgent(t *testing.T) {
	s, spool := newServer(t), newSpool(t, sqlitequeue.Options{})
	s.token = agent.TokenInfo{Kind: "agent", Name: "web-2"}
	src := numbered(5)
	src.hang = true
	o := fastOptions(t, s, spool, src)
	o.AgentID = "web-1"
	err := agent.New(o).Run(t.Context())
	if wrong, ok := err.(*agent.WrongAgentError); !ok || wrong.TokenAgentID != "web-2" {
		t.Errorf("error %v", err)
	}
	st, err := spool.Stats(t.Context())
	if testenv.Check(t, err); s.posts != 0 || st.Pending+st.Leased != 0 {
		t.Errorf("%d posts, %+v", s.posts, st)
	}
	o.AgentID, src.hang = "web-2", false
	o.Inputs[0].Source = src
	run(t, o)
	wantEvents(t, s, src)
}
