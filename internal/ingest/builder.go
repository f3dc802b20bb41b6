package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/shape"
)

// A rejection is an event that was refused.
type rejection struct {
	index  int
	id     string
	errs   FieldErrors
	letter queue.DeadLetter
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
	ev, errs := b.read(r, raw, hint)
	b.seen++
	if len(errs) == 0 {
		b.batch.Events = append(b.batch.Events, ev)
		return nil
	}
	if ev.AgentID == "" {
		ev.AgentID = b.from.Subject
	}
	if ev.Host == "" {
		ev.Host = ev.AgentID
	}
	one := picket.Batch{ID: newBatchID(), Received: b.batch.Received, Events: []picket.Event{ev}}
	// Cloned, as what the reader gives aliases the body.
	ev.AgentID, ev.ID = strings.Clone(ev.AgentID), strings.Clone(ev.ID)
	b.rejected = append(b.rejected, rejection{index: index, id: ev.ID, errs: errs, letter: queue.DeadLetter{
		Reason: queue.Rejected, Cause: errs.String(), AgentID: ev.AgentID, EventID: ev.ID, Events: 1,
		Time: b.batch.Received, Payload: one.Encode(nil),
	}})
	return errs
}

// read makes an event of raw, and says what is wrong with it.
func (b *builder) read(r *shape.Reader, raw []byte, hint hint) (picket.Event, FieldErrors) {
	ev := picket.Event{Received: b.batch.Received, Time: b.batch.Received, Raw: raw}
	d, err := r.Read(raw)
	var errs FieldErrors
	switch {
	case err == nil:
		errs = b.describe(&ev, d, hint)
	case len(raw) > 0 && raw[0] != '{':
		errs = FieldErrors{{nonField, fmt.Sprintf("Invalid data. Expected a dictionary, but got %s.", pythonTypeOf(raw))}}
	default:
		errs = FieldErrors{{nonField, fmt.Sprintf("not acceptable JSON: %v", err)}}
	}
	if ev.ID == "" {
		ev.ID = contentID(b.from.Subject, b.seen, raw)
	}
	return ev, errs
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
	return b.checkNames(ev, errs)
}

// checkNames refuses names that would be trouble everywhere after, and takes
// them away, so that what is put back of a dead letter has none of them.
func (b *builder) checkNames(ev *picket.Event, errs FieldErrors) FieldErrors {
	sameHost := ev.Host == ev.AgentID
	for _, f := range [...]struct {
		field string
		name  *string
	}{{"agent_id", &ev.AgentID}, {"event_id", &ev.ID}, {"event_type", &ev.Type}, {"host", &ev.Host}} {
		reason := checkName(*f.name)
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

// encode makes the message of the batch, which then needs its events no more.
func (b *builder) encode() (queue.Message, []queue.DeadLetter) {
	m := queue.Message{ID: b.batch.ID, Events: len(b.batch.Events)}
	switch {
	case m.Events > 0:
		m.Payload = b.batch.Encode(nil)
		m.Agent = strings.Clone(b.batch.Events[0].AgentID) // what the reader gives aliases the body
	case len(b.rejected) > 0:
		m.Agent = b.rejected[0].letter.AgentID
	}
	b.batch.Events = nil
	letters := make([]queue.DeadLetter, len(b.rejected))
	for i := range b.rejected {
		letters[i] = b.rejected[i].letter
	}
	return m, letters
}

// send puts the batch, and the letters of what was rejected, on the queue. It
// calls release when the body that the batch was made of is needed no more.
func (b *builder) send(ctx context.Context, release func()) error {
	m, letters := b.encode()
	release()
	if b.seen == 0 {
		return nil
	}
	return b.count(m, letters, b.h.queue.Enqueue(ctx, m, letters...))
}

// sendPatiently is send for an agent that throws its batch away when it is
// refused: it waits for room, the agent's patience or not. dropped reports
// that the batch was given up at last.
func (b *builder) sendPatiently(ctx context.Context, release func()) (dropped bool, err error) {
	m, letters := b.encode()
	release()
	if b.seen == 0 {
		return false, nil
	}
	err = b.h.queue.Enqueue(ctx, m, letters...)
	if errors.Is(err, queue.ErrFull) {
		err = b.h.waitForRoom(context.WithoutCancel(ctx), m, letters)
	}
	if err != nil {
		b.h.Metrics.LegacyDropped.Add(int64(b.seen))
		b.h.opt.Log.Error("dropped a batch of an agent that cannot keep it",
			"agent", b.from.Subject, "events", b.seen, "error", err)
	}
	return errors.Is(err, queue.ErrFull), b.count(m, letters, err)
}

// count counts what was sent, err being how that went.
func (b *builder) count(m queue.Message, letters []queue.DeadLetter, err error) error {
	h := b.h
	h.Metrics.Requests.Add(1)
	if err != nil {
		return fmt.Errorf("queue %d events: %w", m.Events, err)
	}
	h.Metrics.Accepted.Add(int64(m.Events))
	h.Metrics.Rejected.Add(int64(len(letters)))
	h.opt.Log.Debug("received", "batch", m.ID, "events", m.Events, "rejected", len(letters), "agent", b.from.Subject)
	return nil
}
