package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/picket-edr/picket"
)

// ReadJSON reads the body, a JSON object of at most 1 MiB, into v, a pointer to a struct.
// Every member must be one of the struct's fields, spelt alike, and not be null: a
// misspelt member would otherwise be ignored.
func ReadJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return err
		}
		return fmt.Errorf("read the body: %v: %w", err, picket.ErrInvalid)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return jsonDecodeError(err)
	}
	if members == nil {
		return fmt.Errorf("the body is null, not a JSON object: %w", picket.ErrInvalid)
	}
	known := memberNames(v)
	for name, value := range members {
		if !slices.Contains(known, name) {
			return fmt.Errorf("the body has an unknown member %q: there are %s: %w", name, strings.Join(known, ", "), picket.ErrInvalid)
		}
		if string(value) == "null" {
			return fmt.Errorf("the member %s of the body is null: leave it out: %w", name, picket.ErrInvalid)
		}
	}
	if err := json.Unmarshal(body, v); err != nil {
		return jsonDecodeError(err)
	}
	return nil
}

// jsonDecodeError returns the error of a body that is not the JSON that was expected.
func jsonDecodeError(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return fmt.Errorf("the body is a JSON %s, not an object: %w", wrong.Value, picket.ErrInvalid)
		}
		return fmt.Errorf("the member %s of the body is a %s, which it cannot be: %w", wrong.Field, wrong.Value, picket.ErrInvalid)
	}
	return fmt.Errorf("read the body as JSON: %v: %w", err, picket.ErrInvalid)
}

// memberNames returns the names in JSON of the fields of the struct that v points to.
func memberNames(v any) []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v).Elem()) {
		if !f.Anonymous {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}
