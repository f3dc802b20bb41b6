package sigma

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// A modifiedValue is a value of an item to which modifiers were applied.
type modifiedValue struct {
	kind    modifiedValueKind
	pattern pattern.Pattern // of a patternValue
	scalar  ast.Scalar      // as the rule has it: the source of a regex, network or field name
}

type modifiedValueKind uint8

const (
	patternValue modifiedValueKind = iota
	numberValue
	boolValue
	nullValue
)

// A modifiedItem is an item to which modifiers were applied.
type modifiedItem struct {
	ast.DetectionItem
	// values are the alternatives that each value of the item became.
	values [][]modifiedValue

	all, cased, negated            bool
	contains, startswith, endswith bool
	re, cidr, exists, fieldref     bool
	flags                          string // of re
	documentBudgetBytes            *int   // compiler.documentBudgetBytes
	compare                        compareOp
	time                           timePart
}

// chargeDocumentBudget takes the size of patterns from the budget of the document.
func (m *modifiedItem) chargeDocumentBudget(ps []modifiedValue) error {
	for i := range ps {
		*m.documentBudgetBytes -= ps[i].pattern.ApproximateBytes()
	}
	if *m.documentBudgetBytes < 0 {
		return errors.New("the values of the rule, or of all rules together, expand to too many patterns")
	}
	return nil
}

// applyModifiers applies the modifiers of an item from left to right.
func (c *compiler) applyModifiers(it ast.DetectionItem) (*modifiedItem, error) {
	m := &modifiedItem{DetectionItem: it, documentBudgetBytes: &c.documentBudgetBytes}
	for _, s := range it.Values {
		c.documentBudgetBytes += freeExpansionFactor * (len(s.Text) + pattern.PartOverheadBytes)
		alternatives := []modifiedValue{{kind: valueKindOf(s), scalar: s}}
		if alternatives[0].kind == patternValue {
			alternatives[0].pattern = pattern.Parse(s.Text, false)
		}
		if it.Has("expand") {
			var err error
			if alternatives, err = expandValue(s, it.Has("re"), c.options.Placeholders); err != nil {
				return nil, err
			}
			if err := m.chargeDocumentBudget(alternatives); err != nil {
				return nil, err
			}
		}
		m.values = append(m.values, alternatives)
	}
	for i, name := range it.Modifiers {
		if err := m.applyModifier(i, name); err != nil {
			return nil, fmt.Errorf("modifier %s: %w", name, err)
		}
	}
	return m, m.checkCombination()
}

func valueKindOf(s ast.Scalar) modifiedValueKind {
	return map[Kind]modifiedValueKind{Null: nullValue, String: patternValue, Number: numberValue, Bool: boolValue}[s.Kind]
}

func (m *modifiedItem) applyModifier(modifierIndex int, name string) error {
	switch name {
	case "all":
		m.all = true
	case "cased":
		m.cased = true
	case "neq":
		m.negated = true
	case "expand": // by modify
	case "exists":
		m.exists = true
	case "cidr":
		m.cidr = true
	case "fieldref":
		m.fieldref = true
	case "re":
		if modifierIndex > 0 && m.Modifiers[modifierIndex-1] != "expand" {
			return errors.New("it must come first")
		}
		m.re = true
	case "i", "ignorecase", "m", "multiline", "s", "dotall":
		if !m.re {
			return errors.New("it must follow re")
		}
		flag := map[string]string{"dotall": "s", "ignorecase": "i", "multiline": "m"}[name]
		if flag = cmp.Or(flag, name); !strings.Contains(m.flags, flag) {
			m.flags += flag
		}
	case "lt", "lte", "gt", "gte":
		if m.compare != equal {
			return errors.New("only one comparison can be made")
		}
		m.compare = map[string]compareOp{"lt": less, "lte": lessOrEqual, "gt": greater, "gte": greaterOrEqual}[name]
	case "minute", "hour", "day", "week", "month", "year":
		if m.time != noTimePart {
			return errors.New("only one part of a time can be taken")
		}
		m.time = map[string]timePart{"minute": minutePart, "hour": hourPart, "day": dayPart, "week": weekPart, "month": monthPart, "year": yearPart}[name]
	default:
		return m.applyStringModifier(name)
	}
	return nil
}

// applyStringModifier applies a modifier that changes strings.
func (m *modifiedItem) applyStringModifier(name string) error {
	switch name {
	case "contains":
		m.contains = true
	case "startswith":
		m.startswith = true
	case "endswith":
		m.endswith = true
	}
	if name == "contains" || name == "startswith" || name == "endswith" {
		if slices.Contains(m.Modifiers, "fieldref") {
			return nil
		}
	}
	if m.re {
		return errors.New("it can't be combined with re")
	}
	for i, alternatives := range m.values {
		var out []modifiedValue
		for _, v := range alternatives {
			switch v.kind {
			case numberValue, boolValue: // "contains: 1" means the digit
				v.kind, v.pattern = patternValue, pattern.FromLiteral(v.scalar.Text)
			case nullValue:
				return errors.New("it needs a string, not null")
			}
			ps, err := transformPattern(name, v.pattern, *m.documentBudgetBytes)
			if err != nil {
				return err
			}
			for _, p := range ps {
				out = append(out, modifiedValue{kind: patternValue, pattern: p, scalar: v.scalar})
			}
		}
		if len(out) > pattern.MaxVariants {
			return pattern.ErrTooManyVariants
		}
		if err := m.chargeDocumentBudget(out); err != nil {
			return err
		}
		m.values[i] = out
	}
	return nil
}

// checkCombination rejects combinations without a meaning.
func (m *modifiedItem) checkCombination() error {
	exclusive := 0
	for _, on := range []bool{m.re, m.cidr, m.exists, m.fieldref, m.compare != equal || m.time != noTimePart} {
		if on {
			exclusive++
		}
	}
	affixes := m.contains || m.startswith || m.endswith
	switch {
	case exclusive > 1, affixes && exclusive > 0 && !m.fieldref:
		return fmt.Errorf("modifiers %s can't be combined", strings.Join(m.Modifiers, ", "))
	case m.Keyword && (m.exists || m.fieldref):
		return fmt.Errorf("modifiers %s need a field", strings.Join(m.Modifiers, ", "))
	}
	return nil
}

// transformPattern applies a string modifier to one pattern. It is an error if the
// result is much larger than p and has more than limitBytes.
func transformPattern(modifier string, p pattern.Pattern, limitBytes int) ([]pattern.Pattern, error) {
	switch modifier {
	case "contains":
		return []pattern.Pattern{p.WithStars(true, true)}, nil
	case "startswith":
		return []pattern.Pattern{p.WithStars(false, true)}, nil
	case "endswith":
		return []pattern.Pattern{p.WithStars(true, false)}, nil
	case "windash":
		return windashVariants(p, limitBytes)
	case "wide", "utf16le":
		return []pattern.Pattern{p.MapLiterals(func(s string) string { return encodeUTF16(s, false) })}, nil
	case "utf16be":
		return []pattern.Pattern{p.MapLiterals(func(s string) string { return encodeUTF16(s, true) })}, nil
	case "utf16": // little endian, with a byte order mark
		p = p.MapLiterals(func(s string) string { return encodeUTF16(s, false) })
		return []pattern.Pattern{append(pattern.FromLiteral("\xFF\xFE"), p...).Canonical()}, nil
	}
	if p.HasWildcard() {
		return nil, errors.New("the value can't have wildcards")
	}
	if modifier == "base64" {
		return []pattern.Pattern{pattern.FromLiteral(base64.StdEncoding.EncodeToString([]byte(p.TextWithoutWildcards())))}, nil
	}
	return base64OffsetPatterns(p.TextWithoutWildcards()), nil
}
