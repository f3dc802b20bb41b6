package ast

import (
	"iter"
	"slices"
)

// A Kind is the JSON type of a scalar.
type Kind uint8

// The kinds of scalars. The zero Kind is Null.
const (
	Null Kind = iota
	String
	Number
	Bool
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case String:
		return "string"
	case Number:
		return "number"
	case Bool:
		return "bool"
	}
	return "unknown"
}

// A Scalar is a value as a rule writes it. Text is "" for Null, "true" or
// "false" for Bool, and a JSON number for Number.
type Scalar struct {
	Kind Kind
	Text string
	Position
}

// Detections is the detection block of a rule, or that of a filter. It holds
// if any of its conditions does.
//
// See "Detection" in the Sigma Rules Specification.
type Detections struct {
	Searches   []Search // in the order of the file
	Conditions []Condition

	// ConditionTexts are the conditions as the file writes them.
	ConditionTexts []LocatedText
}

// A Search is a search identifier and its definition. It holds if any of its
// alternatives does.
type Search struct {
	Name string
	Position
	Alternatives []Conjunction
}

// A Conjunction is a map of a search: it holds if all of its items do.
type Conjunction []DetectionItem

// A DetectionItem compares a field with values, or searches all values of an
// event for keywords.
type DetectionItem struct {
	Field     string // "" for keywords
	Keyword   bool
	Modifiers []string
	Values    []Scalar
	Position

	// Nested, if not nil, replaces field, modifiers and values: the item holds
	// if any of these does. Only pipelines make such items.
	Nested []Conjunction
	// Applied are the IDs of the transformations that were applied to the item.
	// It is set only while a pipeline runs.
	Applied []string
}

// Has reports whether the item has a modifier.
func (it *DetectionItem) Has(modifier string) bool { return slices.Contains(it.Modifiers, modifier) }

// HasAny reports whether the item has any of the modifiers.
func (it *DetectionItem) HasAny(modifiers ...string) bool {
	return slices.ContainsFunc(modifiers, it.Has)
}

// Label names the item in messages: "field Image", or "keywords".
func (it *DetectionItem) Label() string {
	if it.Keyword {
		return "keywords"
	}
	return "field " + it.Field
}

// Names returns the names of the searches.
func (d *Detections) Names() []string {
	names := make([]string, len(d.Searches))
	for i, s := range d.Searches {
		names[i] = s.Name
	}
	return names
}

// TopLevelItems yields the items of all searches, without nested ones.
func (d *Detections) TopLevelItems() iter.Seq[*DetectionItem] {
	return func(yield func(*DetectionItem) bool) {
		for i := range d.Searches {
			for _, c := range d.Searches[i].Alternatives {
				for k := range c {
					if !yield(&c[k]) {
						return
					}
				}
			}
		}
	}
}
