package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/normalize"
)

// A Validator checks the fields of events in picket's native format.
type Validator interface {
	// Validate returns what is wrong with an event in the native format, or of no known
	// format and without a type.
	Validate(d *normalize.Event) FieldErrors
	// NotObjectErrors returns the error for what is not a JSON object.
	NotObjectErrors(raw []byte) FieldErrors
}

// A lenientValidator requires JSON objects and nothing else.
type lenientValidator struct{}

func (lenientValidator) Validate(*normalize.Event) FieldErrors { return nil }
func (lenientValidator) NotObjectErrors([]byte) FieldErrors {
	return FieldErrors{{NonFieldErrors, "an event must be a JSON object"}}
}

// FieldErrors are the errors of one event by field, in the order in which they
// were found.
type FieldErrors []FieldError

// A FieldError is an error of one field.
type FieldError struct{ Field, Reason string }

// NonFieldErrors is the field name of errors that are not about a single field.
const NonFieldErrors = "non_field_errors"

// MarshalJSON writes {"field":["reason"]}.
func (e FieldErrors) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	add := func(s string) error {
		err := enc.Encode(s)
		b.Truncate(b.Len() - 1) // the newline
		return err
	}
	for i, f := range e {
		b.WriteByte("{,"[min(i, 1)])
		if err := add(f.Field); err != nil {
			return nil, err
		}
		b.WriteString(":[")
		if err := add(f.Reason); err != nil {
			return nil, err
		}
		b.WriteByte(']')
	}
	if len(e) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// has reports whether there is an error of a field.
func (e FieldErrors) has(field string) bool {
	return slices.ContainsFunc(e, func(f FieldError) bool { return f.Field == field })
}

// String returns the errors in one line.
func (e FieldErrors) String() string {
	parts := make([]string, len(e))
	for i, f := range e {
		parts[i] = f.Reason
		if f.Field != NonFieldErrors {
			parts[i] = f.Field + ": " + f.Reason
		}
	}
	return strings.Join(parts, "; ")
}

// NativeFields are the top-level fields of picket's native format.
var NativeFields = [...]string{"agent_id", "event_id", "event_type", "timestamp", "severity", "version", "host", "process", "file", "network"}

// HasOnlyNativeFields reports whether an event has no top-level field that the
// native format does not have.
func HasOnlyNativeFields(d *normalize.Event) bool {
	only := true
	d.Each(func(l flatjson.Leaf) {
		name, _, _ := strings.Cut(l.Path.Name, ".")
		only = only && slices.Contains(NativeFields[:], name)
	})
	return only
}

// maxNameLength bounds ids and names, in characters.
const maxNameLength = 512

// NameProblem returns what is wrong with an id or a name, "" if nothing is.
func NameProblem(s string) string {
	switch {
	case utf8.RuneCountInString(s) > maxNameLength:
		return fmt.Sprintf("Ensure this field has no more than %d characters.", maxNameLength)
	case strings.ContainsRune(s, 0):
		return "Null characters are not allowed."
	case strings.Contains(s, "\x1f"): // separates the parts of keys, see picket.EventKey
		return "The character U+001F is not allowed."
	}
	return ""
}
