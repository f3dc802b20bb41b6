// Package ingest is the intake: it takes telemetry over HTTP in every form
// that senders have, checks it, puts it on the queue and answers.
//
// Promise: it answers success only after Enqueue returned nil, names every
// event that it refuses with the reason, and never waits for detection.
package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/shape"
)

// An Enqueuer is where accepted batches go: queue.Queue says what it promises.
type Enqueuer interface {
	Enqueue(ctx context.Context, m queue.Message, rejected ...queue.Letter) error
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
	readers sync.Pool // of *shape.Reader
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
		for _, method := range []string{"GET ", "PUT ", "PATCH ", "DELETE "} {
			mux.Handle(method+path, notAllowed, writeDetail)
		}
	}
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

// A rejection is an event that was refused.
type rejection struct {
	index  int
	id     string
	errs   FieldErrors
	letter queue.Letter
}

// A builder makes one request's batch.
type builder struct {
	h        *Handler
	from     auth.Identity
	batch    picket.Batch
	rejected []rejection
	seen     int
}

func (h *Handler) newBuilder(from auth.Identity) *builder {
	b := &builder{h: h, from: from}
	b.batch = picket.Batch{ID: newBatchID(), Received: h.opt.Now().UTC().Truncate(time.Microsecond)}
	return b
}

// A hint is what the place that an event was posted to says of it, where the
// event itself is silent.
type hint struct {
	id, typ string
	anyType bool // an event of unknown type is taken all the same
}

// add checks one event and takes it, or rejects it. raw must not change until
// the batch is sent. It returns what is wrong, nil if nothing is.
func (b *builder) add(r *shape.Reader, raw []byte, hint hint) FieldErrors {
	index := b.seen
	b.seen++
	ev := picket.Event{Received: b.batch.Received, Time: b.batch.Received, Raw: raw}
	d, err := r.Read(raw)
	var errs FieldErrors
	switch {
	case err == nil:
		errs = b.describe(&ev, d, hint)
	case len(raw) > 0 && raw[0] != '{':
		errs = FieldErrors{{nonField, "Invalid data. Expected a dictionary."}}
	default:
		errs = FieldErrors{{nonField, fmt.Sprintf("not acceptable JSON: %v", err)}}
	}
	if ev.ID == "" {
		ev.ID = contentID(b.from.Subject, index, raw)
	}
	if len(errs) == 0 {
		b.batch.Events = append(b.batch.Events, ev)
		return nil
	}
	if ev.AgentID == "" {
		ev.AgentID = b.from.Subject
	}
	one := picket.Batch{ID: newBatchID(), Received: b.batch.Received, Events: []picket.Event{ev}}
	b.rejected = append(b.rejected, rejection{index: index, id: ev.ID, errs: errs, letter: queue.Letter{
		Kind: queue.Rejected, Cause: errs.String(), AgentID: ev.AgentID, EventID: ev.ID, Events: 1,
		Time: b.batch.Received, Payload: one.Encode(nil),
	}})
	return errs
}

// describe fills ev's identity from what the event says of itself, from the
// token and from the hint, in this order, and checks it.
func (b *builder) describe(ev *picket.Event, d *shape.Doc, hint hint) FieldErrors {
	ev.ID, ev.AgentID, ev.Host, ev.Type, ev.OS = d.ID, d.AgentID, d.Host, d.Type, d.Route.OS
	if !d.Time.IsZero() {
		ev.Time = d.Time
	}
	if ev.ID == "" {
		ev.ID = hint.id
	}
	if ev.Type == "" {
		ev.Type = d.Route.Type
	}
	if ev.Type == "" {
		ev.Type = hint.typ
	}
	var errs FieldErrors
	if claimsNative(d) || ev.Type == "" && !hint.anyType {
		errs = checkNative(d)
	}
	if b.from.Kind == auth.KindAgent {
		// Only a declared agent_id is a claim; an id inside a shape is data.
		if d.Has("agent_id") && d.AgentID != b.from.Subject {
			errs = append(errs, FieldError{"agent_id", fmt.Sprintf("this token speaks for agent %q only", b.from.Subject)})
		}
		ev.AgentID = b.from.Subject
	}
	if ev.Host == "" {
		ev.Host = ev.AgentID
	}
	if ev.AgentID == "" {
		ev.AgentID = ev.Host
	}
	if ev.AgentID == "" {
		ev.AgentID, ev.Host = b.from.Subject, b.from.Subject
	}
	for _, f := range [...]FieldError{{"event_id", ev.ID}, {"agent_id", ev.AgentID}, {"host", ev.Host}, {"event_type", ev.Type}} {
		if e, ok := checkName(f.Field, f.Reason); !ok {
			errs = append(errs, e...)
		}
	}
	return errs
}

// claimsNative reports whether an event is to be held to the native shape: it
// has that shape or, under one of its types, nothing that the shape has not.
// An event with a type of its own and without process, file or network is some
// other JSON, whatever it looks like.
func claimsNative(d *shape.Doc) bool {
	native := d.Type == "process" || d.Type == "file" || d.Type == "network"
	switch d.Shape {
	case "native":
		return native || d.Type == "" || d.Has("process") || d.Has("file") || d.Has("network")
	case "generic":
		return native && onlyNativeFields(d)
	}
	return false
}

// contentID is the id of an event that has none: the same bytes at the same
// place in a request of the same sender are the same event.
func contentID(sender string, index int, raw []byte) string {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(index))
	h.Write(n[:])
	h.Write([]byte(sender))
	h.Write([]byte{0})
	h.Write(raw)
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0])[:16])
}

// send puts the batch, and the letters of what was rejected, on the queue.
// dropped reports that the batch of an agent that cannot wait any longer was
// given up.
func (b *builder) send(ctx context.Context, legacy bool) (dropped bool, err error) {
	h := b.h
	m := queue.Message{ID: b.batch.ID, Events: len(b.batch.Events)}
	if m.Events > 0 {
		m.Payload = b.batch.Encode(nil)
	}
	if b.seen == 0 {
		return false, nil
	}
	letters := make([]queue.Letter, len(b.rejected))
	for i := range b.rejected {
		letters[i] = b.rejected[i].letter
	}
	h.Metrics.Requests.Add(1)
	err = h.queue.Enqueue(ctx, m, letters...)
	if legacy && errors.Is(err, queue.ErrFull) {
		err = h.waitForRoom(ctx, m, letters)
		if errors.Is(err, queue.ErrFull) {
			h.Metrics.LegacyDropped.Add(int64(b.seen))
			h.opt.Log.Error("dropped a batch of an agent that cannot keep it: the queue stayed full",
				"agent", b.from.Subject, "events", b.seen, "waited", h.opt.LegacyWait)
			return true, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("queue %d events: %w", m.Events, err)
	}
	h.Metrics.Accepted.Add(int64(m.Events))
	h.Metrics.Rejected.Add(int64(len(letters)))
	h.opt.Log.Debug("received", "batch", m.ID, "events", m.Events, "rejected", len(letters), "agent", b.from.Subject)
	return false, nil
}

// waitForRoom tries again until there is room, the agent has gone, or
// LegacyWait is over.
func (h *Handler) waitForRoom(ctx context.Context, m queue.Message, letters []queue.Letter) error {
	h.Metrics.LegacyWaiting.Add(1)
	defer h.Metrics.LegacyWaiting.Add(-1)
	deadline := time.NewTimer(h.opt.LegacyWait)
	defer deadline.Stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return queue.ErrFull
		case <-again.C:
			if err := h.queue.Enqueue(ctx, m, letters...); !errors.Is(err, queue.ErrFull) {
				return err
			}
		}
	}
}

// isLegacy knows the replaced system's agent, which throws its batch away on
// any answer but 200 and 201.
func isLegacy(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "EDR-Agent/") }

// extendDeadline lets a request that waits for room outlive the server's
// deadline for ordinary ones.
func (h *Handler) extendDeadline(w http.ResponseWriter) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.opt.LegacyWait + 30*time.Second))
}
