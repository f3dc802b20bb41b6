package ingest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/shape"
	"github.com/picket-edr/picket/sigma"
)

// FieldErrors says what is wrong with an event, by field, in the order and the
// words of the replaced system (a Django REST framework serializer).
type FieldErrors []FieldError

// A FieldError is what is wrong with one field.
type FieldError struct{ Field, Reason string }

// nonField is where reasons go that are about no single field.
const nonField = "non_field_errors"

// MarshalJSON writes {"field":["reason"]}.
func (e FieldErrors) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, f := range e {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(f.Field)
		reason, _ := json.Marshal([]string{f.Reason})
		fmt.Fprintf(&b, "%s:%s", key, reason)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// String is the errors in one line, for dead letters and for people.
func (e FieldErrors) String() string {
	parts := make([]string, len(e))
	for i, f := range e {
		parts[i] = f.Reason
		if f.Field != nonField {
			parts[i] = f.Field + ": " + f.Reason
		}
	}
	return strings.Join(parts, "; ")
}

// A top is what stands at the top level of an event under one name; of a name
// that is there twice, the last counts.
type top struct {
	seen   bool
	object bool // or an array of objects
	array  bool // of scalars
	scalar bool
	value  sigma.Value
}

var nativeFields = [...]string{"agent_id", "event_id", "event_type", "timestamp", "severity", "version", "host", "process", "file", "network"}

// checkNative checks an event of the replaced system's shape as that system
// did: the same fields required, the same words. It is laxer in one point,
// timestamp, which may also be a fraction or ISO 8601.
func checkNative(d *shape.Doc) FieldErrors {
	var tops [len(nativeFields)]top
	d.Each(func(l flatjson.Leaf) {
		name, _, nested := strings.Cut(l.Path.Name, ".")
		for i, f := range nativeFields {
			if f == name {
				tops[i] = top{seen: true, object: nested, array: !nested && l.Element, scalar: !nested && !l.Element, value: l.Value}
			}
		}
	})
	var errs FieldErrors
	add := func(field, reason string) { errs = append(errs, FieldError{field, reason}) }
	for i, name := range nativeFields {
		t := tops[i]
		required := i < 7 && name != "timestamp"
		switch {
		case !t.seen && d.Has(name): // an object or an array with nothing in it
			t.object = true
			fallthrough
		case t.seen:
			if reason := checkField(name, t); reason != "" {
				add(name, reason)
			}
		case required:
			add(name, "This field is required.")
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if !d.Has(d.Type) {
		add(nonField, fmt.Sprintf("%s event requires '%s' field", d.Type, d.Type))
	}
	return errs
}

// onlyNativeFields reports whether all names at the top of an event are the
// native shape's.
func onlyNativeFields(d *shape.Doc) bool {
	only := true
	d.Each(func(l flatjson.Leaf) {
		name, _, _ := strings.Cut(l.Path.Name, ".")
		only = only && slices.Contains(nativeFields[:], name)
	})
	return only
}

func checkField(name string, t top) string {
	if t.scalar && t.value.Kind == sigma.Null {
		return "This field may not be null."
	}
	switch name {
	case "host", "process", "file", "network":
		if !t.object {
			return fmt.Sprintf("Expected a dictionary of items but got type %q.", pythonType(t))
		}
	case "event_type":
		if !t.scalar || t.value.Text != "process" && t.value.Text != "file" && t.value.Text != "network" {
			return fmt.Sprintf("%q is not a valid choice.", t.value.Text)
		}
	case "timestamp":
		if !t.scalar || t.value.Kind == sigma.Bool || t.value.Text == "" {
			return "A valid integer is required."
		}
	default:
		if !t.scalar || t.value.Kind == sigma.Bool {
			return "Not a valid string."
		}
		if strings.TrimSpace(t.value.Text) == "" {
			return "This field may not be blank."
		}
	}
	return ""
}

// pythonType is what Python calls the type of a value.
func pythonType(t top) string {
	switch {
	case t.array:
		return "list"
	case t.value.Kind == sigma.Bool:
		return "bool"
	case t.value.Kind == sigma.Number && strings.ContainsAny(t.value.Text, ".eE"):
		return "float"
	case t.value.Kind == sigma.Number:
		return "int"
	}
	return "str"
}

// maxName is the longest that an id or a name may be, in bytes.
const maxName = 512

// checkName refuses ids and names that would be trouble everywhere after.
func checkName(field, s string) (FieldErrors, bool) {
	switch {
	case len(s) > maxName:
		return FieldErrors{{field, fmt.Sprintf("Ensure this field has no more than %d characters.", maxName)}}, false
	case strings.ContainsRune(s, 0):
		return FieldErrors{{field, "Null characters are not allowed."}}, false
	}
	return nil, true
}
