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

// A condition is one of an old rule, or one of its exceptions.
type condition struct {
	field, operator string
	value           any
	values          []any
	cased           bool
}

func readCondition(v any) (condition, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return condition{}, errors.New("it is no JSON object")
	}
	c := condition{field: textOf(m["field"]), operator: textOf(m["operator"]), value: m["value"], cased: true}
	if list, given := m["values"]; given && list != nil {
		if c.values, ok = list.([]any); !ok {
			return c, errors.New("values is no list")
		}
	}
	switch cased, given := m["case_sensitive"]; {
	case !given:
	case cased == nil: // there, null is false
		c.cased = false
	default:
		if c.cased, ok = cased.(bool); !ok {
			return c, errors.New("case_sensitive is neither true nor false")
		}
	}
	return c, nil
}

// An operation is what an old operator is in Sigma.
type operation struct {
	modifiers []string
	many      bool // it takes values, not value
	negated   bool // it holds for what is there and is not so
	numbers   bool // it compares numbers
	plain     bool // it takes a number for its text
}

var operations = map[string]operation{
	"equals":       {plain: true},
	"not_equals":   {plain: true, negated: true},
	"contains":     {modifiers: []string{"contains"}},
	"not_contains": {modifiers: []string{"contains"}, negated: true},
	"contains_any": {modifiers: []string{"contains"}, many: true},
	"contains_all": {modifiers: []string{"contains", "all"}, many: true},
	"starts_with":  {modifiers: []string{"startswith"}},
	"ends_with":    {modifiers: []string{"endswith"}},
	"regex":        {modifiers: []string{"re"}},
	"greater_than": {modifiers: []string{"gt"}, numbers: true},
	"less_than":    {modifiers: []string{"lt"}, numbers: true},
	"in_list":      {many: true},
}

// search converts the condition, of a rule about such entities. It may come
// with a note.
func (c condition) search(entity string) (s search, note string, err error) {
	field, err := fieldOf(entity, c.field)
	if err != nil {
		return nil, "", err
	}
	op, ok := operations[c.operator]
	if !ok {
		return nil, "", fmt.Errorf("operator %q is none of the old system's, so it never held", c.operator)
	}
	given, err := c.given(op)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.operator, err)
	}
	modifiers := op.modifiers
	if len(given) == 1 && len(modifiers) == 2 {
		modifiers = modifiers[:1] // all, of one
	}
	it := item{}
	switch {
	case op.numbers:
		it.values = []*yaml.Node{{Kind: yaml.ScalarNode, Value: given[0]}}
	case c.operator == "regex":
		if note, err = checkRegex(given[0]); err != nil {
			return nil, "", fmt.Errorf("regex %q: %w", given[0], err)
		}
		if !c.cased {
			modifiers = []string{"re", "i"}
		}
		it.values = []*yaml.Node{quoted(given[0])}
	default:
		if c.cased {
			modifiers = append(modifiers[:len(modifiers):len(modifiers)], "cased")
		}
		it.values = list(given, func(s string) *yaml.Node { return quoted(escape(s)) }).Content
	}
	if op.negated {
		modifiers = append(modifiers[:len(modifiers):len(modifiers)], "neq")
	}
	it.key = strings.Join(append([]string{field}, modifiers...), "|")
	s = search{it}
	if op.negated {
		// There, no condition holds for a field that is missing; here, neq does.
		s = append(s, item{field, []*yaml.Node{quoted("*")}})
	}
	return s, note, nil
}

// given returns the values of a condition, as text.
func (c condition) given(op operation) ([]string, error) {
	all := []any{c.value}
	if op.many {
		all = c.values
	}
	if len(all) == 0 {
		return nil, errors.New("values is missing or empty")
	}
	var out []string
	for _, v := range all {
		switch v := v.(type) {
		case string:
			if op.numbers {
				if v = strings.TrimSpace(v); !isNumber(v) {
					return nil, fmt.Errorf("%q is no number", v)
				}
			}
			out = append(out, v)
		case json.Number:
			switch {
			case op.numbers && !isNumber(v.String()):
				return nil, fmt.Errorf("%s is too large a number", v)
			case op.plain && strings.Trim(v.String(), "-0123456789") != "":
				return nil, fmt.Errorf("%s is compared as text, which for such a number can't be told", v)
			case !op.plain && !op.numbers:
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

var numberForm = regexp.MustCompile(`^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,3})?$`)

// isNumber reports whether s is a number that Sigma and the old system read
// alike.
func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && numberForm.MatchString(s)
}

// escape writes a text so that Sigma reads it as it is: a backslash is doubled
// only where it would escape something.
func escape(s string) string {
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
