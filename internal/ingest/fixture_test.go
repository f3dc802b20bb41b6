package ingest_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
)

// A fixture is an intake on a real queue, with a token of each kind.
type fixture struct {
	queue   *sqlitequeue.Queue
	handler *ingest.Handler
	mux     *httpapi.Mux
	tokens  *auth.TokenVerifier

	agent, collector, api string // tokens; agent's is for PC1
	agentTokenID          string
	store                 *sqlitestore.Store
	now                   time.Time // for the look-up of tokens
}

func newFixture(t testing.TB, qo sqlitequeue.Options, o ingest.Options) *fixture {
	t.Helper()
	dir := t.TempDir()
	q, err := sqlitequeue.Open(filepath.Join(dir, "queue.db"), qo)
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, q.Close()) })
	s, err := sqlitestore.Open(filepath.Join(dir, "store.db"), sqlitestore.Options{})
	testenv.Check(t, err)
	t.Cleanup(func() { testenv.Check(t, s.Close()) })
	r := &fixture{queue: q, store: s, now: time.Now(), mux: httpapi.NewMux(slog.New(slog.DiscardHandler))}
	token := func(kind, subject, role string) string {
		tok, secret, err := auth.NewToken(kind, subject, role, time.Now())
		testenv.Check(t, err)
		testenv.Check(t, s.AddToken(context.Background(), tok))
		if kind == auth.KindAgent {
			r.agentTokenID = tok.ID
		}
		return secret
	}
	o.Validator, o.WriteError = legacy.Validator{}, legacy.WriteTelemetryError
	r.tokens = auth.NewTokenVerifier(s, func() time.Time { return r.now })
	r.handler = ingest.New(q, r.tokens, o)
	r.agent, r.collector, r.api = token(auth.KindAgent, "PC1", ""), token(auth.KindCollector, "col", ""), token(auth.KindAPI, "reader", auth.RoleAdmin)
	r.handler.Routes(r.mux)
	r.mux.Handle("/{$}", r.handler.Root, ingest.WriteElastic)
	return r
}

// do sends a request; headers are names and values, one after another.
func (r *fixture) do(method, path string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, body)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, req)
	return w
}

// post posts telemetry as JSON with a token.
func (r *fixture) post(token, body string, headers ...string) *httptest.ResponseRecorder {
	headers = append([]string{"Authorization", "Token " + token, "Content-Type", "application/json"}, headers...)
	return r.do(http.MethodPost, "/api/v1/telemetry/", strings.NewReader(body), headers...)
}

// takeAll empties the queue and returns the events in it.
func (r *fixture) takeAll(t testing.TB) []picket.Event {
	t.Helper()
	ctx := context.Background()
	var events []picket.Event
	for {
		st, err := r.queue.Stats(ctx)
		testenv.Check(t, err)
		if st.Pending == 0 {
			return events
		}
		ds, err := r.queue.Receive(ctx, 100)
		testenv.Check(t, err)
		for _, d := range ds {
			b, err := picket.DecodeBatch(d.Payload)
			testenv.Check(t, err)
			events = append(events, b.Events...)
		}
		testenv.Check(t, r.queue.Ack(ctx, ds...))
	}
}

// native is a good event of the legacy agent; with adds to it, and
// what it adds wins.
const nativeStart = `{"agent_id":"PC1","event_id":"e1","event_type":"process","timestamp":1700000000,"severity":"info",` +
	`"version":"1.0","host":{"hostname":"PC1","os":"Windows","os_version":"11"},"process":{"name":"C:\\a.exe","pid":1}`

const native = nativeStart + "}"

// nativeWith returns native with more members. An agent_id among them replaces its own.
func nativeWith(members string) string {
	start := nativeStart
	if strings.Contains(members, `"agent_id":`) {
		start = agentMember.ReplaceAllString(start, "")
	}
	return start + "," + members + "}"
}

var agentMember = regexp.MustCompile(`"agent_id":"[^"]*",`)
