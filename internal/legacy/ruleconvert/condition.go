package ruleconvert

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A legacyCondition is a condition or an exception of a legacy rule.
type legacyCondition struct {
	field, operator string
	value           any
	values          []any
	caseSensitive   bool
}

func parseCondition(v any) (legacyCondition, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return legacyCondition{}, errors.New("it is no JSON object")
	}
	c := legacyCondition{field: textOf(m["field"]), operator: textOf(m["operator"]), value: m["value"], caseSensitive: true}
	if list, given := m["values"]; given && list != nil {
		if c.values, ok = list.([]any); !ok {
			return c, errors.New("values is no list")
		}
	}
	switch cased, given := m["case_sensitive"]; {
	case !given:
	case cased == nil: // null means false
		c.caseSensitive = false
	default:
		if c.caseSensitive, ok = cased.(bool); !ok {
			return c, errors.New("case_sensitive is neither true nor false")
		}
	}
	return c, nil
}

// An operation is the Sigma equivalent of a legacy operator.
type operation struct {
	modifiers    []string
	multiple     bool // it uses values, not value
	negated      bool // it holds if the field exists and does not match
	numeric      bool // it compares numbers
	numberAsText bool // it compares a number as text
}

var operationByOperator = map[string]operation{
	"equals":       {numberAsText: true},
	"not_equals":   {numberAsText: true, negated: true},
	"contains":     {modifiers: []string{"contains"}},
	"not_contains": {modifiers: []string{"contains"}, negated: true},
	"contains_any": {modifiers: []string{"contains"}, multiple: true},
	"contains_all": {modifiers: []string{"contains", "all"}, multiple: true},
	"starts_with":  {modifiers: []string{"startswith"}},
	"ends_with":    {modifiers: []string{"endswith"}},
	"regex":        {modifiers: []string{"re"}},
	"greater_than": {modifiers: []string{"gt"}, numeric: true},
	"less_than":    {modifiers: []string{"lt"}, numeric: true},
	"in_list":      {multiple: true},
}

// toSelection converts the condition of a rule for an entity type. note is "" or a
// difference that the reader should know.
func (c legacyCondition) toSelection(entityType string) (s selection, note string, err error) {
	field, err := sigmaFieldName(entityType, c.field)
	if err != nil {
		return nil, "", err
	}
	op, ok := operationByOperator[c.operator]
	if !ok {
		return nil, "", fmt.Errorf("operator %q is none of the legacy system's, so it never held", c.operator)
	}
	values, err := c.textValues(op)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.operator, err)
	}
	modifiers := op.modifiers
	if len(values) == 1 && len(modifiers) == 2 {
		modifiers = modifiers[:1] // |all needs several values
	}
	it := detectionItem{}
	switch {
	case op.numeric:
		it.values = []*yaml.Node{{Kind: yaml.ScalarNode, Value: values[0]}}
	case c.operator == "regex":
		if note, err = checkRegex(values[0]); err != nil {
			return nil, "", fmt.Errorf("regex %q: %w", values[0], err)
		}
		if !c.caseSensitive {
			modifiers = []string{"re", "i"}
		}
		it.values = []*yaml.Node{quotedNode(values[0])}
	default:
		if c.caseSensitive {
			modifiers = append(modifiers[:len(modifiers):len(modifiers)], "cased")
		}
		it.values = sequenceNode(values, func(s string) *yaml.Node { return quotedNode(escapeSigma(s)) }).Content
	}
	if op.negated {
		modifiers = append(modifiers[:len(modifiers):len(modifiers)], "neq")
	}
	it.key = strings.Join(append([]string{field}, modifiers...), "|")
	s = selection{it}
	if op.negated {
		// A legacy condition never holds for a missing field; Sigma's neq does.
		s = append(s, detectionItem{field, []*yaml.Node{quotedNode("*")}})
	}
	return s, note, nil
}

// textValues returns the values of a condition as text.
func (c legacyCondition) textValues(op operation) ([]string, error) {
	all := []any{c.value}
	if op.multiple {
		all = c.values
	}
	if len(all) == 0 {
		return nil, errors.New("values is missing or empty")
	}
	var out []string
	for _, v := range all {
		switch v := v.(type) {
		case string:
			if op.numeric {
				if v = strings.TrimSpace(v); !isSameNumberInLegacy(v) {
					return nil, fmt.Errorf("%q is no number", v)
				}
			}
			out = append(out, v)
		case json.Number:
			switch {
			case op.numeric && !isSameNumberInLegacy(v.String()):
				return nil, fmt.Errorf("%s is too large a number", v)
			case op.numberAsText && strings.Trim(v.String(), "-0123456789") != "":
				return nil, fmt.Errorf("%s is compared as text, which for such a number can't be told", v)
			case !op.numberAsText && !op.numeric:
				return nil, fmt.Errorf("%s is a number where a text is wanted, so it did not hold; put it into quotes", v)
			}
			out = append(out, v.String())
		case nil:
			return nil, errors.New("value is missing")
		default:
			return nil, fmt.Errorf("%v is neither a text nor a number", v)
		}
	}
	return out, nil
}

var numberPattern = regexp.MustCompile(`^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,3})?$`)

// isSameNumberInLegacy reports whether Sigma and the legacy system parse s as the same number.
func isSameNumberInLegacy(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && numberPattern.MatchString(s)
}

// escapeSigma escapes a text for Sigma. A backslash is doubled only where it would escape
// the next character.
func escapeSigma(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		run := len(s[i:]) - len(strings.TrimLeft(s[i:], `\`))
		next := s[i+run:]
		special := next != "" && (next[0] == '*' || next[0] == '?')
		if run > 1 || special {
			b.WriteString(strings.Repeat(`\`, 2*run))
		} else {
			b.WriteString(s[i : i+run])
		}
		i += run
		if i < len(s) {
			if special {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}
