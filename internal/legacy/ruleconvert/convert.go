// Package convert makes Sigma rules of the JSON rules of the system that picket
// replaces. `picket rules convert` is its only user.
//
// Promise: it is pure, JSON to YAML, and a rule fires on the events of that
// system's agents exactly when the old one did; what can't be converted so is
// an error that says why, never a rule that is nearly right. Where the old
// system read its own rule otherwise than its author will have meant it, so
// that a condition never held, that is an error too.
package ruleconvert

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Rule is what was made of one old rule.
type Rule struct {
	OldID string
	Name  string // of a file for it, without extension
	YAML  []byte // a document, or two of a rule about files
	// Notes are what its reader should know, as that the old rule was off.
	Notes []string
}

// An Error says why something was not converted.
type Error struct {
	Rule   string // its old id, or where it stands in the input
	Reason string
}

// Error returns "rule: reason".
func (e *Error) Error() string {
	if e.Rule == "" {
		return e.Reason
	}
	return e.Rule + ": " + e.Reason
}

// JSON converts the rules in data: one object or several, arrays of them, a
// dump of Django's or an export of MongoDB's. What can't be converted is among
// the errors, and the others are.
func JSON(data []byte) ([]Rule, []*Error) {
	olds, errs := read(data)
	var rules []Rule
	ids, names := make(map[string]bool), make(map[string]bool)
	for _, o := range olds {
		if ids[o.id] {
			errs = append(errs, &Error{o.place, "there are two rules of this id; the first is converted"})
			continue
		}
		ids[o.id] = true
		r, err := convert(o)
		if err != nil {
			errs = append(errs, &Error{o.place, err.Error()})
			continue
		}
		base := r.Name
		for n := 2; names[r.Name]; n++ {
			r.Name = fmt.Sprintf("%s-%d", base, n)
		}
		names[r.Name] = true
		rules = append(rules, r)
	}
	return rules, errs
}

func convert(o old) (Rule, error) {
	l, err := o.logic()
	if err != nil {
		return Rule{}, err
	}
	head, err := o.head()
	if err != nil {
		return Rule{}, err
	}
	r := Rule{OldID: o.id, Name: fileName(o.id), Notes: append(o.notes(l.categories), l.notes...)}
	for i, category := range l.categories {
		doc := l.document(o, head, category, i > 0)
		for _, note := range r.Notes {
			doc.HeadComment += "# " + strings.ReplaceAll(note, "\n", " ") + "\n"
		}
		var b bytes.Buffer
		enc := yaml.NewEncoder(&b)
		if err := enc.Encode(doc); err != nil {
			return r, fmt.Errorf("write YAML: %w", err)
		}
		if i > 0 {
			r.YAML = append(r.YAML, "---\n"...)
		}
		r.YAML = append(r.YAML, b.Bytes()...)
	}
	return r, nil
}

// fileName makes the name of a file of an old id.
func fileName(id string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, id)
	if name = strings.Trim(name, "-"); name == "" {
		return "rule"
	}
	return name[:min(len(name), 100)]
}
