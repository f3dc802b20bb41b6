package legacy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma"
)

// A Validator checks events in the native format as the legacy system's Django
// REST framework serializer did. It implements ingest.Validator.
type Validator struct{}

// NotObjectErrors returns the serializer's error for JSON that is not an object. A line
// that is not JSON, in formats of lines, never came to the serializer.
func (Validator) NotObjectErrors(raw []byte) ingest.FieldErrors {
	if !json.Valid(raw) {
		return ingest.FieldErrors{{Field: ingest.NonFieldErrors, Reason: "the line is not JSON"}}
	}
	return ingest.FieldErrors{{Field: ingest.NonFieldErrors, Reason: fmt.Sprintf("Invalid data. Expected a dictionary, but got %s.", pythonTypeOfJSON(raw))}}
}

// A topLevelField is a field at the top level of an event. Of a repeated field
// the last counts.
type topLevelField struct {
	seen   bool
	object bool // or an array of objects
	array  bool // of scalars
	scalar bool
	value  sigma.Value
}

// Validate requires the fields that the legacy system's serializer did, with
// its messages. It is laxer in one point: timestamp may also be a fraction or
// ISO 8601. Of an event that is not in the native format it only requires a type.
func (Validator) Validate(d *normalize.Event) ingest.FieldErrors {
	if d.Type == "" && d.Format != "native" && !ingest.HasOnlyNativeFields(d) {
		return ingest.FieldErrors{{Field: ingest.NonFieldErrors, Reason: "no known format; add event_type (any name), see docs/telemetry.md"}}
	}
	var fields [len(ingest.NativeFields)]topLevelField
	d.Each(func(l flatjson.Leaf) {
		name, _, nested := strings.Cut(l.Path.Name, ".")
		for i, f := range ingest.NativeFields {
			if f == name {
				fields[i] = topLevelField{seen: true, object: nested, array: !nested && l.Element, scalar: !nested && !l.Element, value: l.Value}
			}
		}
	})
	var errs ingest.FieldErrors
	add := func(field, reason string) { errs = append(errs, ingest.FieldError{Field: field, Reason: reason}) }
	for i, name := range ingest.NativeFields {
		field := fields[i]
		required := i < 7 && name != "timestamp"
		switch {
		case !field.seen && d.HasNativeFormatField(name): // an empty object or array
			field.object = true
			fallthrough
		case field.seen:
			if reason := checkField(name, field, d); reason != "" {
				add(name, reason)
			}
		case required:
			add(name, "This field is required.")
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if !d.HasNativeFormatField(d.Type) {
		add(ingest.NonFieldErrors, fmt.Sprintf("%s event requires '%s' field", d.Type, d.Type))
	}
	return errs
}

func checkField(name string, field topLevelField, d *normalize.Event) (reason string) {
	if field.scalar && field.value.Kind == sigma.Null {
		return "This field may not be null."
	}
	switch name {
	case "host", "process", "file", "network":
		if !field.object {
			return fmt.Sprintf("Expected a dictionary of items but got type %q.", pythonTypeOfField(field))
		}
	case "event_type":
		if !field.scalar || field.value.Text != "process" && field.value.Text != "file" && field.value.Text != "network" {
			return fmt.Sprintf(`"%s" is not a valid choice.`, pythonStrOfField(field))
		}
	case "timestamp":
		if !field.scalar || field.value.Kind == sigma.Bool || field.value.Kind == sigma.String && (field.value.Text == "" || d.Time.IsZero()) {
			return "A valid integer is required."
		}
	default:
		if !field.scalar || field.value.Kind == sigma.Bool {
			return "Not a valid string."
		}
		if strings.TrimSpace(field.value.Text) == "" {
			return "This field may not be blank."
		}
		return ingest.NameProblem(field.value.Text)
	}
	return ""
}

// pythonTypeOfField returns the name of a value's type in Python.
func pythonTypeOfField(field topLevelField) string {
	switch {
	case field.array:
		return "list"
	case field.value.Kind == sigma.Bool:
		return "bool"
	case field.value.Kind == sigma.Number && strings.ContainsAny(field.value.Text, ".eE"):
		return "float"
	case field.value.Kind == sigma.Number:
		return "int"
	}
	return "str"
}

// pythonTypeOfJSON returns the name in Python of the type of a JSON text that is not
// an object.
func pythonTypeOfJSON(raw []byte) string {
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

// pythonStrOfField formats a value as Python does, cut to 100 bytes so that an answer
// cannot be as large as the request.
func pythonStrOfField(field topLevelField) string {
	const most = 100
	s := field.value.Text
	switch {
	case field.scalar && field.value.Kind == sigma.Bool && s != "":
		return strings.ToUpper(s[:1]) + s[1:]
	case field.object:
		return "{}"
	case len(s) > most:
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
