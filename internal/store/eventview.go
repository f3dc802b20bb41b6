package store

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/casefold"
)

// An EventView gives a query access to an event. It parses what the query needs,
// once. The zero value is ready for Reset. It is for one goroutine.
type EventView struct {
	// ContextChecker, if not nil, ends comparisons early; see Expr.
	ContextChecker *ContextChecker

	ev     *picket.Event
	dec    flatjson.Decoder
	leaves []flatjson.Leaf
	text   []byte
	raw    []byte

	hasLeaves, hasText bool
}

// Reset makes v the view of ev, which must not change while v is in use.
func (v *EventView) Reset(ev *picket.Event) {
	v.ev, v.hasLeaves, v.hasText = ev, false, false
}

// Leaves returns the leaves of the event's JSON; none if it is not JSON.
func (v *EventView) Leaves() []flatjson.Leaf {
	if !v.hasLeaves {
		var err error
		if v.leaves, _, err = v.dec.Leaves(v.ev.Raw, v.leaves[:0]); err != nil {
			v.leaves = v.leaves[:0]
		}
		v.hasLeaves = true
	}
	return v.leaves
}

// Text returns the event's text (AppendEventText), folded.
func (v *EventView) Text() []byte {
	if !v.hasText {
		v.raw = AppendEventText(v.raw[:0], v.ev.Raw)
		v.text, _ = casefold.AppendBytes(v.text[:0], v.raw)
		v.hasText = true
	}
	return v.text
}

// AnyValue reports whether ok is true for any value of a field: those under the
// name that Sigma has for it, those at that path in the event as received, and the
// built-in one (BuiltinField).
func (v *EventView) AnyValue(field string, ok func(string) bool) bool {
	match := func(s string) bool { return v.ContextChecker.CountBytes(len(s)) == nil && ok(s) }
	for i := range v.ev.Fields {
		if f := &v.ev.Fields[i]; f.Name == field && match(ValueText(f.Value)) {
			return true
		}
	}
	leaves := v.Leaves()
	for i := range leaves {
		if l := &leaves[i]; l.Path.Name == field && match(ValueText(l.Value)) {
			return true
		}
	}
	if v.ContextChecker.CountBytes(len(leaves)) != nil {
		return false
	}
	text, has := BuiltinField(v.ev, field)
	return has && match(text) || field == EventTypeField && v.anyCategory(match)
}

// anyCategory reports whether ok is true for a Sigma category of an event in the native
// format, whose own type is less exact.
func (v *EventView) anyCategory(ok func(string) bool) bool {
	if picket.NativeCategory(v.ev.Type, "") == "" {
		return false
	}
	hasAction := false
	for i := range v.Leaves() {
		if l := &v.leaves[i]; slices.Contains(picket.NativeActionPaths(), l.Path.Name) {
			hasAction = true
			if ok(picket.NativeCategory(v.ev.Type, l.Value.Text)) {
				return true
			}
		}
	}
	return !hasAction && ok(picket.NativeCategory(v.ev.Type, ""))
}

// EventTypeField is the built-in field of an event's type. Events in the native format
// also have their Sigma category under it.
const EventTypeField = "event_type"

// BuiltinField returns the value of a field that every event has, whatever its
// JSON: event_id, agent_id, host and event_type. The event itself may have other
// values under that name; a query sees both.
func BuiltinField(ev *picket.Event, field string) (string, bool) {
	switch field {
	case "event_id":
		return ev.ID, true
	case "agent_id":
		return ev.AgentID, true
	case "host":
		return ev.Host, true
	case EventTypeField:
		return ev.Type, true
	}
	return "", false
}

// ValueText returns a value as queries compare it: as it is written, and null as
// "null".
func ValueText(v sigma.Value) string {
	if v.Kind == sigma.Null {
		return "null"
	}
	return v.Text
}

// AppendSelectedFields appends the fields with the given names to dst, with values of their
// own that are cut to MaxListedValueBytes bytes.
func AppendSelectedFields(dst, fields []sigma.Field, names []string) []sigma.Field {
	for i := range fields {
		f := fields[i]
		if !slices.Contains(names, f.Name) {
			continue
		}
		f.Value.Text = strings.Clone(f.Value.Text[:min(len(f.Value.Text), MaxListedValueBytes)])
		dst = append(dst, f)
	}
	return dst
}
