// Package ingest is the intake: it receives telemetry over HTTP in every format
// that senders use, validates it, puts it on the queue and answers.
//
// Promise: it answers success only after Enqueue returned nil, reports every
// event that it rejects with the reason, and never waits for detection.
package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/queue"
)

// An Enqueuer accepts batches durably, as queue.Queue does.
type Enqueuer interface {
	Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error
}

// Options bound a request and adapt the intake. Zero fields take the default.
type Options struct {
	MaxBodyBytes    int64 // bytes of a request as sent; 16 MiB
	MaxDecodedBytes int64 // bytes of a request decompressed; 64 MiB
	MaxEvents       int   // events of a request; 10,000
	MaxEventBytes   int   // bytes of one event; 1 MiB
	// BodyGrace is how long each 64 KiB of a body as sent may take to arrive; 5 s.
	BodyGrace time.Duration
	// IDSecret is the secret from which the ids of events without one are derived. All
	// servers of an installation must have the same; by default it is random.
	IDSecret []byte
	// Validator checks events in the native format; by default they need only
	// be JSON objects.
	Validator Validator
	// WriteError answers the errors of /api/v1/telemetry; httpapi.WriteError.
	WriteError httpapi.ErrorWriter
	// WrapTelemetry wraps the handler of /api/v1/telemetry; by default nothing.
	WrapTelemetry func(httpapi.Handler) httpapi.Handler
	// ObserveRequest is called with the time that each request took; by default
	// nothing.
	ObserveRequest func(time.Duration)
	Log            *slog.Logger
	Now            func() time.Time
}

// A Handler serves the intake. It is safe for concurrent use.
type Handler struct {
	queue   Enqueuer
	tokens  *auth.TokenVerifier
	opt     Options
	bodies  *bodyReader
	readers boundedReaderPool
	// agentDropped counts the events that agents report as dropped.
	agentDropped atomic.Int64
	// otherHosts counts the events of agents that name another host than their tokens are
	// bound to; otherHostsMinute is when the last of them were logged.
	otherHosts, otherHostsMinute atomic.Int64
	refused                      refusalCounter
}

// A boundedReaderPool limits how many goroutines read events at the same time. Each reader
// takes some megabytes when events are hostile, and more of them are not faster.
type boundedReaderPool struct {
	slots *slotTier
	pool  sync.Pool // of *normalize.Reader
}

// use calls f with a reader, for a request of sender. f must not wait for anything.
func (p *boundedReaderPool) use(ctx context.Context, sender string, f func(*normalize.Reader) error) error {
	if err := p.slots.acquire(ctx, sender); err != nil {
		return err
	}
	defer p.slots.release(sender)
	r := p.pool.Get().(*normalize.Reader)
	defer func() {
		r.DropReferences()
		p.pool.Put(r)
	}()
	return f(r)
}

// AgentDroppedEvents returns how many events agents have reported as lost, because their
// spools were full or damaged, since the process started.
func (h *Handler) AgentDroppedEvents() int64 { return h.agentDropped.Load() }

// OtherHostEvents returns how many events of agents have named another host than their
// tokens are bound to, since the process started.
func (h *Handler) OtherHostEvents() int64 { return h.otherHosts.Load() }

// countOtherHosts counts the events of b that name another host, and says so in the log
// once a minute.
func (h *Handler) countOtherHosts(b *batchBuilder) {
	if b.otherHosts == 0 {
		return
	}
	n := h.otherHosts.Add(int64(b.otherHosts))
	minute := b.batch.Received.Unix() / 60
	if h.otherHostsMinute.Swap(minute) != minute {
		h.opt.Log.Warn("events name another host than their agent's token is bound to; they count as events of the bound host",
			"agent", b.from.Subject, "host", b.host, "token", b.from.TokenID, "events", n)
	}
}

// New returns an intake that puts batches on q.
func New(q Enqueuer, tokens *auth.TokenVerifier, o Options) *Handler {
	o.MaxBodyBytes = cmp.Or(o.MaxBodyBytes, 16<<20)
	o.MaxDecodedBytes = cmp.Or(o.MaxDecodedBytes, 64<<20)
	o.MaxEvents = cmp.Or(o.MaxEvents, 10_000)
	o.MaxEventBytes = cmp.Or(o.MaxEventBytes, 1<<20)
	o.BodyGrace = cmp.Or(o.BodyGrace, 5*time.Second)
	if o.IDSecret == nil {
		o.IDSecret = make([]byte, 32)
		rand.Read(o.IDSecret)
	}
	if o.Validator == nil {
		o.Validator = lenientValidator{}
	}
	if o.WriteError == nil {
		o.WriteError = httpapi.WriteError
	}
	if o.WrapTelemetry == nil {
		o.WrapTelemetry = func(h httpapi.Handler) httpapi.Handler { return h }
	}
	if o.ObserveRequest == nil {
		o.ObserveRequest = func(time.Duration) {}
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Handler{queue: q, tokens: tokens, opt: o, bodies: newBodyReader(&o)}
	h.readers.slots = newSlotTier(0, 2*int64(runtime.GOMAXPROCS(0)), int64(runtime.GOMAXPROCS(0)))
	h.readers.pool.New = func() any { return normalize.NewReader() }
	return h
}

// Routes adds the intake's paths to mux.
func (h *Handler) Routes(mux *httpapi.Mux) {
	telemetry := echoBatchHeader(h.countRefusals(h.timed(h.opt.WrapTelemetry(h.telemetry))))
	for _, path := range []string{"/api/v1/telemetry/{$}", "/api/v1/telemetry", "/telemetry", "/telemetry/{$}"} {
		mux.Handle("POST "+path, telemetry, h.opt.WriteError)
		mux.Handle(path, h.notAllowed, h.opt.WriteError)
	}
	mux.Handle("GET /api/v1/token", h.describeToken, httpapi.WriteError)
	mux.Handle("POST /api/v1/osquery/log", h.countRefusals(h.timed(h.osqueryLog)), httpapi.WriteError)
	mux.Handle("POST /api/v1/osquery/enroll", h.osqueryEnroll, httpapi.WriteError)
	h.elasticRoutes(mux)
}

// timed measures how long a handler takes.
func (h *Handler) timed(next httpapi.Handler) httpapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		defer func(start time.Time) { h.opt.ObserveRequest(time.Since(start)) }(time.Now())
		return next(w, r)
	}
}
