package store

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket"
)

// A FieldValue is the value of a field of an event, as lists show it: of several values,
// all, with commas between them.
type FieldValue struct {
	Text    string
	Present bool // the event has the field
}

// MarshalJSON returns null for a field that the event does not have.
func (v FieldValue) MarshalJSON() ([]byte, error) {
	if !v.Present {
		return []byte("null"), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v.Text)
	return b.Bytes(), err
}

// IsBuiltinField reports whether every event has a field: those of BuiltinField, and the
// times, which FieldValue has besides.
func IsBuiltinField(field string) bool { return slices.Contains(builtinFieldNames, field) }

var builtinFieldNames = []string{"event_id", "agent_id", "host", EventTypeField, "time", "received"}

// FieldValue returns the value of a field under the names that queries have for it, cut
// to MaxListedValueBytes. A built-in field has the value that picket determined; that of
// EventTypeField is as exact as possible.
func (v *EventView) FieldValue(field string) FieldValue {
	switch field {
	case "time":
		return FieldValue{v.ev.Time.Format(time.RFC3339Nano), true}
	case "received":
		return FieldValue{v.ev.Received.Format(time.RFC3339Nano), true}
	case EventTypeField:
		return FieldValue{v.Category(), true}
	}
	if text, ok := BuiltinField(v.ev, field); ok {
		return FieldValue{text, true}
	}
	var texts []string
	for i := range v.Leaves() {
		if l := &v.leaves[i]; l.Path.Name == field {
			texts = appendDistinct(texts, ValueText(l.Value))
		}
	}
	for i := range v.ev.Fields {
		if f := &v.ev.Fields[i]; f.Name == field {
			texts = appendDistinct(texts, ValueText(f.Value))
		}
	}
	if texts == nil {
		return FieldValue{}
	}
	return NewFieldValue(texts)
}

// maxJoinedValues bounds the values that a FieldValue has the text of.
const maxJoinedValues = 64

func appendDistinct(texts []string, text string) []string {
	if len(texts) >= maxJoinedValues || slices.Contains(texts, text) {
		return texts
	}
	return append(texts, text)
}

// NewFieldValue returns what a field with these values is in lists.
func NewFieldValue(texts []string) FieldValue {
	text := texts[0]
	if len(texts) > 1 {
		text = strings.Join(texts[:min(len(texts), maxJoinedValues)], ", ")
	}
	if len(text) > MaxListedValueBytes {
		text = strings.ToValidUTF8(text[:MaxListedValueBytes], "")
	}
	return FieldValue{text, true}
}

// Category returns the Sigma category of an event in the native format, and the type of
// any other.
func (v *EventView) Category() string {
	if picket.NativeCategory(v.ev.Type, "") == "" {
		return v.ev.Type
	}
	action := ""
	for _, path := range picket.NativeActionPaths() {
		for i := range v.Leaves() {
			if l := &v.leaves[i]; l.Path.Name == path {
				action = l.Value.Text
			}
		}
		if action != "" {
			break
		}
	}
	return picket.NativeCategory(v.ev.Type, action)
}

// QueryFields returns the names of the fields that an expression refers to.
func QueryFields(x Expr) []string {
	switch x := x.(type) {
	case And:
		return fieldsOfAll(x)
	case Or:
		return fieldsOfAll(x)
	case Not:
		return QueryFields(x.X)
	case *PatternTerm:
		return []string{x.Field}
	case *RegexpTerm:
		return []string{x.Field}
	}
	return nil
}

func fieldsOfAll(xs []Expr) (fields []string) {
	for _, x := range xs {
		fields = append(fields, QueryFields(x)...)
	}
	return fields
}
