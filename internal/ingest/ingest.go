// Package ingest is the intake: it takes telemetry over HTTP in every form
// that senders have, checks it, puts it on the queue and answers.
//
// Promise: it answers success only after Enqueue returned nil, names every
// event that it refuses with the reason, and never waits for detection.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/shape"
)

// An Enqueuer is where accepted batches go: queue.Queue says what it promises.
type Enqueuer interface {
	Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error
}

// Options bound a request. Zero fields take the default.
type Options struct {
	MaxBody    int64         // bytes as sent; 16 MiB
	MaxDecoded int64         // bytes decompressed; 64 MiB
	MaxEvents  int           // 10,000
	MaxEvent   int           // bytes of one event; 1 MiB
	LegacyWait time.Duration // how long the replaced system's agent is made to wait for room; 1 minute
	Log        *slog.Logger
	Now        func() time.Time
}

// A Handler serves the intake. It is safe for concurrent use.
type Handler struct {
	queue   Enqueuer
	tokens  *auth.Tokens
	opt     Options
	bodies  *bodyReader
	readers sync.Pool    // of *shape.Reader
	waiting atomic.Int64 // bytes of the batches that wait for room
	Metrics Metrics
}

// New returns an intake that puts batches on q.
func New(q Enqueuer, tokens *auth.Tokens, o Options) *Handler {
	def(&o.MaxBody, 16<<20)
	def(&o.MaxDecoded, 64<<20)
	def(&o.MaxEvents, 10_000)
	def(&o.MaxEvent, 1<<20)
	def(&o.LegacyWait, time.Minute)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Handler{queue: q, tokens: tokens, opt: o, bodies: newBodyReader(o.MaxBody, o.MaxDecoded)}
	h.readers.New = func() any { return shape.NewReader() }
	return h
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Routes adds the intake's paths to mux.
func (h *Handler) Routes(mux *httpapi.Mux) {
	for _, path := range []string{"/api/v1/telemetry/{$}", "/api/v1/telemetry", "/telemetry", "/telemetry/{$}"} {
		mux.Handle("POST "+path, h.telemetry, writeDetail)
		mux.Handle(path, h.notAllowed, writeDetail)
	}
	mux.Handle("GET /api/v1/commands/poll/{$}", h.pollCommands, writeDetail)
	mux.Handle("POST /api/v1/commands/result/{id}/{$}", h.commandResult, writeDetail)
	mux.Handle("POST /api/v1/osquery/log", h.osqueryLog, httpapi.WriteError)
	mux.Handle("POST /api/v1/osquery/enroll", h.osqueryEnroll, httpapi.WriteError)
	h.elasticRoutes(mux)
}

// authenticate returns the identity that a secret speaks for, if that may
// post telemetry.
func (h *Handler) authenticate(ctx context.Context, secret string) (auth.Identity, error) {
	id, err := h.tokens.Check(ctx, secret)
	if err != nil {
		return id, err
	}
	if id.Kind != auth.KindAgent && id.Kind != auth.KindCollector {
		return id, fmt.Errorf("post telemetry with a token of kind %s: %w", id.Kind, auth.ErrForbidden)
	}
	return id, nil
}
