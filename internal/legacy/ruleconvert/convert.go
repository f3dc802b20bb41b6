// Package ruleconvert converts the JSON rules of the legacy system to Sigma, for
// picket rules convert.
//
// It is pure: JSON in, YAML out. A converted rule matches the events of legacy
// agents exactly when the legacy rule did. A rule for which that is impossible is an
// error that says why, and so is one with a condition that could never hold because
// the legacy system read it differently from what its author must have meant.
package ruleconvert

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A ConvertedRule is what a legacy rule was converted to.
type ConvertedRule struct {
	LegacyID string
	Name     string // file name without extension
	YAML     []byte // one document, or two for a rule about files
	// Notes are differences that the reader should know, for example that the legacy
	// rule was disabled.
	Notes []string
}

// An Error says why a rule was not converted.
type Error struct {
	Rule   string // its legacy id, or its position in the input
	Reason string
}

// Error returns "rule: reason".
func (e *Error) Error() string {
	if e.Rule == "" {
		return e.Reason
	}
	return e.Rule + ": " + e.Reason
}

// ConvertJSON converts the rules in data: objects, arrays of them, a dump of Django or an
// export of MongoDB. It returns an error for each rule that it cannot convert, and
// converts the others.
func ConvertJSON(data []byte) ([]ConvertedRule, []*Error) {
	legacyRules, errs := parseRules(data)
	var rules []ConvertedRule
	ids, names := make(map[string]bool), make(map[string]bool)
	for _, o := range legacyRules {
		if ids[o.id] {
			errs = append(errs, &Error{o.location, "there are two rules of this id; the first is converted"})
			continue
		}
		ids[o.id] = true
		r, err := convertRule(o)
		if err != nil {
			errs = append(errs, &Error{o.location, err.Error()})
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

func convertRule(o legacyRule) (ConvertedRule, error) {
	l, err := o.convertConditions()
	if err != nil {
		return ConvertedRule{}, err
	}
	head, err := o.metadata()
	if err != nil {
		return ConvertedRule{}, err
	}
	r := ConvertedRule{LegacyID: o.id, Name: outputFileName(o.id), Notes: append(o.conversionNotes(l.categories), l.notes...)}
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

// outputFileName returns the file name for a legacy id.
func outputFileName(id string) string {
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
