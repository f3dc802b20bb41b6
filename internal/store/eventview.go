package store

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// An EventView is an event as a query sees it. It reads what a query asks for, once.
// Its zero value is ready for Reset; it is for one goroutine.
type EventView struct {
	ev     *picket.Event
	dec    flatjson.Decoder
	leaves []flatjson.Leaf
	text   []byte
	raw    []byte

	hasLeaves, hasText bool
}

// Reset makes d the view of ev, which must not change while d is in use.
func (d *EventView) Reset(ev *picket.Event) {
	d.ev, d.hasLeaves, d.hasText = ev, false, false
}

// Leaves returns the leaves of the event as received; none if it is not JSON.
func (d *EventView) Leaves() []flatjson.Leaf {
	if !d.hasLeaves {
		var err error
		if d.leaves, _, err = d.dec.Leaves(d.ev.Raw, d.leaves[:0]); err != nil {
			d.leaves = d.leaves[:0]
		}
		d.hasLeaves = true
	}
	return d.leaves
}

// Text returns the event's text (AppendEventText), folded.
func (d *EventView) Text() []byte {
	if !d.hasText {
		d.raw = AppendEventText(d.raw[:0], d.ev.Raw)
		d.text = AppendFold(d.text[:0], d.raw)
		d.hasText = true
	}
	return d.text
}

// AnyValue reports whether ok holds for any of the field's values: those under
// Sigma's name, those at the path in the event as received and, under the names
// of the event's own attributes (BuiltinField), what these are.
func (d *EventView) AnyValue(field string, ok func(string) bool) bool {
	for i := range d.ev.Fields {
		if f := &d.ev.Fields[i]; f.Name == field && ok(ValueText(f.Value)) {
			return true
		}
	}
	for _, l := range d.Leaves() {
		if l.Path.Name == field && ok(ValueText(l.Value)) {
			return true
		}
	}
	v, has := BuiltinField(d.ev, field)
	return has && ok(v)
}

// BuiltinField returns an event's own attribute under the name that it has in
// queries. It is a value of that field beside those that the event itself may
// have there: a host is found by what picket calls it, whatever the event says.
func BuiltinField(ev *picket.Event, field string) (string, bool) {
	switch field {
	case "event_id":
		return ev.ID, true
	case "agent_id":
		return ev.AgentID, true
	case "host":
		return ev.Host, true
	case "event_type":
		return ev.Type, true
	}
	return "", false
}

// ValueText is a value as queries compare it: as written, and null as "null".
func ValueText(v sigma.Value) string {
	if v.Kind == sigma.Null {
		return "null"
	}
	return v.Text
}
