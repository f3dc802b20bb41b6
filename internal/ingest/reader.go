package ingest

import (
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/shape"
)

// A Reader makes events of what senders put on a queue by themselves, past
// intake, under the same rules. It is for one goroutine.
type Reader struct {
	from  auth.Identity
	shape *shape.Reader
}

// NewReader returns a Reader of what comes by way of sender, which is the
// agent of events that name neither an agent nor a host.
func NewReader(sender string) *Reader {
	return &Reader{auth.Identity{Kind: auth.KindCollector, Subject: sender}, shape.NewReader()}
}

// Read makes an event of raw, a JSON object, which must not change for as long
// as the event is used. id is the event's where a shape has none. What is wrong
// with an event is an error that is picket.ErrInvalid. Of the native shape only
// who sent what is asked for: the rest was the sender's to check, and an event
// without it can still be detected on.
func (r *Reader) Read(raw []byte, id string, received time.Time) (picket.Event, error) {
	b := builder{from: r.from, batch: picket.Batch{Received: received}}
	ev, errs := b.read(r.shape, raw, hint{id: id})
	errs = slices.DeleteFunc(errs, func(e FieldError) bool {
		return e.Field != "event_id" && e.Field != "agent_id" && e.Field != "event_type" && e.Field != nonField
	})
	if len(errs) > 0 {
		return ev, fmt.Errorf("%s: %w", errs, picket.ErrInvalid)
	}
	return ev, nil
}
