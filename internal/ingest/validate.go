package ingest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/httpapi"
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
	b := []byte{'{'}
	for i, f := range e {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := httpapi.Marshal(f.Field)
		if err != nil {
			return nil, err
		}
		reason, err := httpapi.Marshal([]string{f.Reason})
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), reason...)
	}
	return append(b, '}'), nil
}

// has reports whether something is wrong with a field.
func (e FieldErrors) has(field string) bool {
	return slices.ContainsFunc(e, func(f FieldError) bool { return f.Field == field })
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
			if reason := checkField(name, t, d); reason != "" {
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

func checkField(name string, t top, d *shape.Doc) string {
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
			return fmt.Sprintf(`"%s" is not a valid choice.`, pythonText(t))
		}
	case "timestamp":
		if !t.scalar || t.value.Kind == sigma.Bool || t.value.Kind == sigma.String && (t.value.Text == "" || d.Time.IsZero()) {
			return "A valid integer is required."
		}
	default:
		if !t.scalar || t.value.Kind == sigma.Bool {
			return "Not a valid string."
		}
		if strings.TrimSpace(t.value.Text) == "" {
			return "This field may not be blank."
		}
		return checkName(t.value.Text)
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

// pythonTypeOf is what Python calls the type of a value that is no object, as
// it stands in JSON.
func pythonTypeOf(raw []byte) string {
	switch c := raw[0]; {
	case c == '"':
		return "str"
	case c == '[':
		return "list"
	case c == 't' || c == 'f':
		return "bool"
	case c == 'n':
		return "NoneType"
	case bytes.ContainsAny(raw, ".eE"):
		return "float"
	}
	return "int"
}

// pythonText is how Python writes a value within a text, cut where it is long:
// the answer must not be as large as what was sent.
func pythonText(t top) string {
	const most = 100
	s := t.value.Text
	switch {
	case t.scalar && t.value.Kind == sigma.Bool && s != "":
		return strings.ToUpper(s[:1]) + s[1:]
	case t.object:
		return "{}"
	case len(s) > most:
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// maxName is the longest that an id or a name may be, in bytes.
const maxName = 512

// checkName returns what is wrong with an id or a name.
func checkName(s string) string {
	switch {
	case len(s) > maxName:
		return fmt.Sprintf("Ensure this field has no more than %d characters.", maxName)
	case strings.ContainsRune(s, 0):
		return "Null characters are not allowed."
	}
	return ""
}
