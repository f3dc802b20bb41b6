package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// An eventRejection says which event of a request was rejected, and why.
type eventRejection struct {
	index    int
	id       string
	errs     FieldErrors
	oversize bool
}

// A batchBuilder builds the batch of one request.
type batchBuilder struct {
	h        *Handler
	from     auth.Identity
	batch    picket.Batch
	rejected []eventRejection
	// deadLetters are those of the first maxSingleRejectedDeadLetters rejected events; the
	// others are in rest and share one.
	deadLetters []queue.DeadLetter
	rest        picket.Batch
	restCause   string
	seen        int // events so far, accepted and rejected
	validator   Validator
	sender      string // Sender of the events
	host        string // of the agent's token, "" for a collector's or before its first use
	otherHosts  int    // events that name another
	idSecret    []byte // from which ids are derived
}

func (h *Handler) newBatchBuilder(from auth.Identity) *batchBuilder {
	b := &batchBuilder{h: h, from: from, validator: h.opt.Validator, sender: from.String(), idSecret: h.opt.IDSecret}
	if from.Kind == auth.KindAgent && from.Host != store.TokenAnyHost {
		b.host = from.Host
	}
	b.batch = picket.Batch{ID: newBatchID(), Received: h.opt.Now().UTC().Truncate(time.Microsecond)}
	return b
}

// requestDefaults are what the URL of a request says about its events, used
// where an event itself says nothing.
type requestDefaults struct {
	id, typ string
	index   string // Index of the events
	anyType bool   // accept events of unknown type
}

// addEvent accepts or rejects one event. raw must not change until the batch is
// sent. It returns the errors of a rejected event.
func (b *batchBuilder) addEvent(r *normalize.Reader, raw []byte, defaults requestDefaults) FieldErrors {
	ev, errs := b.readEvent(r, raw, defaults)
	if len(errs) == 0 {
		b.seen++
		b.batch.Events = append(b.batch.Events, ev)
		return nil
	}
	b.reject(ev, errs, false)
	return errs
}

// rejectOversize rejects an event that is too large. start is its start.
func (b *batchBuilder) rejectOversize(start []byte, size int, defaults requestDefaults) FieldErrors {
	start = start[:min(len(start), maxKeptOversizeBytes, b.h.opt.MaxEventBytes)]
	ev := picket.Event{Sender: b.sender, Index: defaults.index, Received: b.batch.Received, Time: b.batch.Received, Raw: start, ID: defaults.id, Type: defaults.typ}
	errs := b.clearInvalidNames(&ev, FieldErrors{{NonFieldErrors, fmt.Sprintf("the event has %d bytes, more than the %d that are accepted (--max-event); only its start is kept",
		size, b.h.opt.MaxEventBytes)}})
	if ev.ID == "" {
		ev.ID = idFromContent(b.idSecret, b.from.Subject, b.seen, start)
	}
	b.setHost(&ev, false)
	b.reject(ev, errs, true)
	return errs
}

// reject rejects an event.
func (b *batchBuilder) reject(ev picket.Event, errs FieldErrors, oversize bool) {
	rej := eventRejection{index: b.seen, id: strings.Clone(ev.ID), errs: errs, oversize: oversize} // cloned, because the reader's strings alias the body
	b.seen++
	b.rejected = append(b.rejected, rej)
	if len(b.deadLetters) < maxSingleRejectedDeadLetters {
		one := picket.Batch{ID: newBatchID(), Received: b.batch.Received, Events: []picket.Event{ev}}
		b.deadLetters = append(b.deadLetters, queue.DeadLetter{
			Reason: queue.Rejected, Cause: errs.String(), AgentID: strings.Clone(ev.AgentID), EventID: rej.id, Events: 1,
			Time: b.batch.Received, Payload: one.Encode(nil),
		})
		return
	}
	if b.restCause == "" {
		b.restCause = errs.String()
	}
	b.rest.Events = append(b.rest.Events, ev)
}

// maxSingleRejectedDeadLetters is how many rejected events of a request have dead letters of their
// own. A dead letter takes some hundred bytes besides its event, which may have two.
const maxSingleRejectedDeadLetters = 100

// restDeadLetter returns the dead letter of the other rejected events.
func (b *batchBuilder) restDeadLetter() queue.DeadLetter {
	b.rest.ID, b.rest.Received = newBatchID(), b.batch.Received
	return queue.DeadLetter{
		Reason: queue.Rejected, AgentID: b.from.Subject, Events: len(b.rest.Events), Time: b.batch.Received, Payload: b.rest.Encode(nil),
		Cause: fmt.Sprintf("%d more events of a request were rejected, the first of them because: %s", len(b.rest.Events), b.restCause),
	}
}

// readEvent parses and checks one event.
func (b *batchBuilder) readEvent(r *normalize.Reader, raw []byte, defaults requestDefaults) (picket.Event, FieldErrors) {
	ev := picket.Event{Sender: b.sender, Index: defaults.index, Received: b.batch.Received, Time: b.batch.Received, Raw: raw}
	d, err := r.Read(raw)
	var errs FieldErrors
	switch {
	case err == nil:
		errs = b.fillAndValidate(&ev, d, defaults)
	case len(raw) > 0 && raw[0] != '{':
		errs = b.validator.NotObjectErrors(raw)
	default:
		errs = FieldErrors{{NonFieldErrors, fmt.Sprintf("not acceptable JSON: %v", err)}}
	}
	if ev.ID == "" {
		ev.ID = idFromContent(b.idSecret, b.from.Subject, b.seen, raw)
	}
	b.setHost(&ev, len(errs) == 0)
	return ev, errs
}

// fillAndValidate fills in who and what ev is, from the event itself, the token and
// the request's defaults, in this order, and checks it.
func (b *batchBuilder) fillAndValidate(ev *picket.Event, d *normalize.Event, defaults requestDefaults) FieldErrors {
	ev.ID, ev.AgentID, ev.Host, ev.Type, ev.OS = d.ID, d.AgentID, d.Host, d.Type, d.Class.OS
	if !d.Time.IsZero() {
		ev.Time = d.Time
	}
	if ev.ID == "" {
		ev.ID = defaults.id
	}
	if ev.Type == "" {
		ev.Type = d.Class.Type
	}
	if ev.Type == "" {
		ev.Type = defaults.typ
	}
	errs := repeatedAgentErrors(d)
	if claimsNative(d) || ev.Type == "" && !defaults.anyType {
		errs = append(errs, b.validator.Validate(d)...)
	}
	if b.from.Kind == auth.KindAgent {
		// Only a declared agent_id is a claim; an id inside another format is data.
		if d.HasNativeFormatField("agent_id") && d.AgentID != b.from.Subject && !errs.has("agent_id") {
			errs = append(errs, FieldError{"agent_id", fmt.Sprintf("this token speaks for agent %q only", b.from.Subject)})
		}
		ev.AgentID = b.from.Subject
	}
	if ev.AgentID == "" {
		ev.AgentID = cmp.Or(ev.Host, b.from.Subject)
	}
	return b.clearInvalidNames(ev, errs)
}

// setHost sets the host of an event. An agent's events are from the host that its token
// is bound to, whatever they say: what else they name, such as the computer of a
// forwarded event, stays in the event. The first valid event that names a host binds the
// token. An event that names none is from a host with the name of its agent.
func (b *batchBuilder) setHost(ev *picket.Event, eventIsValid bool) {
	ev.AgentID = cmp.Or(ev.AgentID, b.from.Subject)
	switch {
	case b.from.Kind != auth.KindAgent || b.from.Host == store.TokenAnyHost:
	case b.host != "":
		if ev.Host != "" && !sameMachine(ev.Host, b.host) {
			b.otherHosts++
		}
		ev.Host = b.host
	case eventIsValid && ev.Host != store.TokenAnyHost: // only an admin lifts the binding
		b.host = strings.Clone(ev.Host) // the reader's strings alias the body
	}
	ev.Host = cmp.Or(ev.Host, ev.AgentID)
}

// sameMachine reports whether two names can be of one machine: with and without its
// domain, in any case.
func sameMachine(a, b string) bool {
	a, _, _ = strings.Cut(a, ".")
	b, _, _ = strings.Cut(b, ".")
	return strings.EqualFold(a, b)
}

// bindHost binds the agent's token to the host of this request, if the token is not bound yet.
func (b *batchBuilder) bindHost(ctx context.Context) error {
	if b.host == "" || b.from.Host != "" {
		return nil
	}
	bound, err := b.h.tokens.BindHost(ctx, b.from, b.host)
	if err != nil {
		return err
	}
	if bound == b.host || bound == store.TokenAnyHost {
		return nil
	}
	for i := range b.batch.Events { // another request was first
		b.batch.Events[i].Host = bound
	}
	return nil
}

// repeatedAgentErrors rejects an event that says more than once which agent sent it:
// programs differ in which of the values they read.
func repeatedAgentErrors(d *normalize.Event) FieldErrors {
	if !d.HasNativeFormatField("agent_id") {
		return nil
	}
	n := 0
	d.Each(func(l flatjson.Leaf) {
		if l.Path.Name == "agent_id" {
			n++
		}
	})
	if n > 1 {
		return FieldErrors{{"agent_id", "the event has it more than once"}}
	}
	return nil
}

// clearInvalidNames rejects names that no later stage could handle, and removes them
// from ev, so that a requeued dead letter does not have them either.
func (b *batchBuilder) clearInvalidNames(ev *picket.Event, errs FieldErrors) FieldErrors {
	sameHost := ev.Host == ev.AgentID
	for _, f := range [...]struct {
		field string
		name  *string
	}{{"agent_id", &ev.AgentID}, {"event_id", &ev.ID}, {"event_type", &ev.Type}, {"host", &ev.Host}, {"_index", &ev.Index}} {
		reason := NameProblem(*f.name)
		if reason == "" {
			continue
		}
		*f.name = ""
		if !errs.has(f.field) && !(f.name == &ev.Host && sameHost) {
			errs = append(errs, FieldError{f.field, reason})
		}
	}
	return errs
}

// claimsNative reports whether an event must be valid in the native format: it
// was detected as native, or it has one of the native types and only native
// fields. An event with another type and without process, file or network is
// other JSON, whatever it looks like.
func claimsNative(d *normalize.Event) bool {
	native := d.Type == "process" || d.Type == "file" || d.Type == "network"
	switch d.Format {
	case "native":
		return native || d.Type == "" || d.HasNativeFormatField("process") || d.HasNativeFormatField("file") || d.HasNativeFormatField("network")
	case "generic":
		return native && HasOnlyNativeFields(d)
	}
	return false
}

// idFromContent returns the id of an event that has none: the same bytes at the
// same position in a request of the same sender are the same event. Without the
// secret, no one can predict it.
func idFromContent(secret []byte, sender string, index int, raw []byte) string {
	h := sha256.New()
	h.Write(secret)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(index))
	h.Write(n[:])
	h.Write([]byte(sender))
	h.Write([]byte{0})
	h.Write(raw)
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0])[:16])
}

// messageAndRejected makes the queue message of the batch and releases its events.
func (b *batchBuilder) messageAndRejected() (m queue.Message, deadLetters []queue.DeadLetter) {
	m = queue.Message{ID: b.batch.ID, Events: len(b.batch.Events)}
	switch {
	case m.Events > 0:
		m.Payload = b.batch.Encode(nil)
		m.Agent = strings.Clone(b.batch.Events[0].AgentID) // the reader's strings alias the body
	case len(b.deadLetters) > 0:
		m.Agent = b.deadLetters[0].AgentID
	}
	if len(b.rest.Events) > 0 {
		b.deadLetters = append(b.deadLetters, b.restDeadLetter())
	}
	b.batch.Events, b.rest.Events = nil, nil
	return m, b.deadLetters
}

// enqueue puts the batch, and the rejected events as dead letters, on the queue.
// It calls release once the request's body is no longer needed.
func (b *batchBuilder) enqueue(ctx context.Context, release func()) error {
	h := b.h
	if err := b.bindHost(ctx); err != nil {
		return err
	}
	h.countOtherHosts(b)
	m, deadLetters := b.messageAndRejected()
	release()
	if b.seen == 0 {
		return nil
	}
	if err := h.queue.Enqueue(ctx, m, deadLetters...); err != nil {
		return &enqueueError{fmt.Errorf("queue %d events: %w", m.Events, err)}
	}
	h.opt.Log.Debug("request queued", "batch", m.ID, "events", m.Events, "rejected", len(b.rejected), "agent", b.from.Subject)
	return nil
}

// newBatchID returns 128 random bits in hex.
func newBatchID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
