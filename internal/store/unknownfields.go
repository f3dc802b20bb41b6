package store

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/picket-edr/picket/sigma/lint"
)

// comparisonPattern is a word that was meant to compare a field, in another language.
var comparisonPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*(>|<|==)`)

// ComparisonNotes returns a note for people about each word of a query that was meant to
// compare a field with an operator that the language does not have.
func ComparisonNotes(x Expr) (notes []string) {
	switch x := x.(type) {
	case And:
		for _, y := range x {
			notes = append(notes, ComparisonNotes(y)...)
		}
	case Or:
		for _, y := range x {
			notes = append(notes, ComparisonNotes(y)...)
		}
	case Not:
		return ComparisonNotes(x.X)
	case *TextTerm:
		if comparisonPattern.MatchString(x.text) {
			return []string{fmt.Sprintf("%s: searched for as text; the operators are =, != and ~", x.text)}
		}
	}
	return notes
}

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
