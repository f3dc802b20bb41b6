package ingest

import (
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/shape"
)

// A Reader reads events that senders put on the queue themselves, bypassing the
// intake, under the intake's rules. It is for one goroutine.
type Reader struct {
	from      auth.Identity
	shape     *shape.Reader
	validator Validator
}

// NewReader returns a Reader. sender is the agent of events that name neither
// an agent nor a host; v checks events in the native format.
func NewReader(sender string, v Validator) *Reader {
	return &Reader{auth.Identity{Kind: auth.KindCollector, Subject: sender}, shape.NewReader(), v}
}

// Read makes an event of raw, a JSON object, which must not change for as long
// as the event is used. id is the event's where a shape has none. What is wrong
// with an event is an error that is picket.ErrInvalid. Of the native shape only
// who sent what is asked for: the rest was the sender's to check, and an event
// without it can still be detected on.
func (r *Reader) Read(raw []byte, id string, received time.Time) (picket.Event, error) {
	b := batchBuilder{from: r.from, validator: r.validator, batch: picket.Batch{Received: received}}
	ev, errs := b.read(r.shape, raw, requestDefaults{id: id})
	errs = slices.DeleteFunc(errs, func(e FieldError) bool {
		return e.Field != "event_id" && e.Field != "agent_id" && e.Field != "event_type" && e.Field != NonFieldErrors
	})
	if len(errs) > 0 {
		return ev, fmt.Errorf("%s: %w", errs, picket.ErrInvalid)
	}
	return ev, nil
}
