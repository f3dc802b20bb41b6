package ingest

import (
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/normalize"
)

// A RawEventReader reads events that senders put on the queue themselves, bypassing the
// intake, under the intake's rules. It is for one goroutine.
type RawEventReader struct {
	from      auth.Identity
	reader    *normalize.Reader
	validator Validator
	idSecret  []byte
}

// NewRawEventReader returns a RawEventReader. sender is the Sender of the events,
// and the agent of those that name neither an agent nor a host; v checks events in the
// native format; idSecret is as in Options.
func NewRawEventReader(sender string, v Validator, idSecret []byte) *RawEventReader {
	return &RawEventReader{auth.Identity{Kind: auth.KindCollector, Subject: sender}, normalize.NewReader(), v, idSecret}
}

// Read parses one event, a JSON object that must not change while the event is
// used. id is the event's id if its format has none. An invalid event is
// picket.ErrInvalid. Of the native format only the agent, id and type are
// required, because rules can match an event without the other fields.
func (r *RawEventReader) Read(raw []byte, id string, received time.Time) (picket.Event, error) {
	b := batchBuilder{from: r.from, validator: r.validator, sender: r.from.Subject, idSecret: r.idSecret, batch: picket.Batch{Received: received}}
	ev, errs := b.readEvent(r.reader, raw, requestDefaults{id: id})
	errs = slices.DeleteFunc(errs, func(e FieldError) bool {
		return e.Field != "event_id" && e.Field != "agent_id" && e.Field != "event_type" && e.Field != NonFieldErrors
	})
	if len(errs) > 0 {
		return ev, fmt.Errorf("%s: %w", errs, picket.ErrInvalid)
	}
	return ev, nil
}
