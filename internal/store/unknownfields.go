package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/picket-edr/picket/sigma/lint"
)

// maxSuggestionCandidates bounds the names that a suggestion is chosen from.
const maxSuggestionCandidates = 20_000

// A FieldLister lists the fields of events; see Events.
type FieldLister interface {
	EachFieldNames(ctx context.Context, seen func(names []string) (more bool)) (complete bool, err error)
}

// UnknownFieldNotes returns a note for people about each of the fields that no stored
// event has, with the name that was probably meant: that of a stored field, or one of
// sigmaFields.
func UnknownFieldNotes(ctx context.Context, s FieldLister, fields, sigmaFields []string) ([]string, error) {
	var unknown []string
	for _, field := range fields {
		if !IsBuiltinField(field) && !slices.Contains(unknown, field) {
			unknown = append(unknown, field)
		}
	}
	if unknown == nil {
		return nil, nil
	}
	known := make(map[string]bool)
	complete, err := s.EachFieldNames(ctx, func(names []string) bool {
		for _, name := range names {
			if len(known) < maxSuggestionCandidates {
				known[name] = true
			}
		}
		unknown = slices.DeleteFunc(unknown, func(field string) bool { return slices.Contains(names, field) })
		return len(unknown) > 0
	})
	if err != nil || len(unknown) == 0 {
		return nil, err
	}
	which := "stored"
	if !complete {
		which = "recent"
	}
	candidates := slices.Concat(slices.Sorted(maps.Keys(known)), builtinFieldNames, sigmaFields)
	var notes []string
	for _, field := range unknown {
		note := fmt.Sprintf("%s: no %s event has this field", field, which)
		if name := lint.NearestName(field, candidates); name != "" && name != field {
			note += fmt.Sprintf("; did you mean %s?", name)
		}
		notes = append(notes, note)
	}
	return notes, nil
}
