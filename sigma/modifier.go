package sigma

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// modifiers are those of the Sigma Modifiers Appendix, long forms included.
var modifiers = []string{
	"contains", "startswith", "endswith", "all", "cased", "exists", "neq", "expand", "fieldref", "cidr", "windash",
	"re", "i", "ignorecase", "m", "multiline", "s", "dotall",
	"base64", "base64offset", "wide", "utf16le", "utf16be", "utf16",
	"lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year",
}

func isModifier(name string) bool { return slices.Contains(modifiers, name) }

// An operand is a value of an item on its way through the modifiers.
type operand struct {
	kind    operandKind
	pattern pattern // of text
	scalar  scalar  // as the rule has it; the source of a regex, network or field name
}

type operandKind uint8

const (
	textOperand operandKind = iota
	numberOperand
	boolOperand
	nullOperand
)

// A modified is an item after its modifiers.
type modified struct {
	item
	// values are the values of the item; of each, any alternative may hold.
	values [][]operand

	all, cased, negated        bool
	startswith, endswith, part bool // part is contains
	re, cidr, exists, fieldref bool
	flags                      string // of re
	compare                    compareOp
	time                       timePart
}

// maxAlternatives bounds what one value may grow into.
const maxAlternatives = 1 << 13

// modify applies the modifiers of an item from left to right.
func modify(it item, placeholders map[string][]string) (*modified, error) {
	m := &modified{item: it}
	expand := slices.Contains(it.modifiers, "expand")
	raw := slices.Contains(it.modifiers, "re")
	for _, s := range it.values {
		alts := []operand{{kind: kindOf(s), scalar: s}}
		if alts[0].kind == textOperand {
			alts[0].pattern = parsePattern(s.text, false)
		}
		if expand {
			var err error
			if alts, err = expandValue(s, raw, placeholders); err != nil {
				return nil, err
			}
		}
		m.values = append(m.values, alts)
	}
	for i, name := range it.modifiers {
		if err := m.apply(i, name); err != nil {
			return nil, fmt.Errorf("modifier %s: %w", name, err)
		}
	}
	return m, m.check()
}

func kindOf(s scalar) operandKind {
	return map[Kind]operandKind{Null: nullOperand, String: textOperand, Number: numberOperand, Bool: boolOperand}[s.kind]
}

func (m *modified) apply(i int, name string) error {
	switch name {
	case "all":
		m.all = true
	case "cased":
		m.cased = true
	case "neq":
		m.negated = true
	case "expand": // done first
	case "exists":
		m.exists = true
	case "cidr":
		m.cidr = true
	case "fieldref":
		m.fieldref = true
	case "re":
		if i > 0 && m.modifiers[i-1] != "expand" {
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
		return m.applyToText(name)
	}
	return nil
}

// applyToText applies a modifier that changes strings.
func (m *modified) applyToText(name string) error {
	switch name {
	case "contains":
		m.part = true
	case "startswith":
		m.startswith = true
	case "endswith":
		m.endswith = true
	}
	if name == "contains" || name == "startswith" || name == "endswith" {
		if slices.Contains(m.modifiers, "fieldref") {
			return nil
		}
	}
	if m.re {
		return errors.New("it can't be combined with re")
	}
	for i, alts := range m.values {
		var out []operand
		for _, o := range alts {
			switch o.kind {
			case numberOperand, boolOperand: // "contains: 1" means the digit
				o.kind, o.pattern = textOperand, pattern{{literal, o.scalar.text}}
			case nullOperand:
				return errors.New("it needs a string, not null")
			}
			ps, err := transform(name, o.pattern)
			if err != nil {
				return err
			}
			for _, p := range ps {
				out = append(out, operand{kind: textOperand, pattern: p, scalar: o.scalar})
			}
		}
		if len(out) > maxAlternatives {
			return errors.New("the value has too many variants")
		}
		m.values[i] = out
	}
	return nil
}

// check refuses combinations that mean nothing.
func (m *modified) check() error {
	kinds := 0
	for _, on := range []bool{m.re, m.cidr, m.exists, m.fieldref, m.compare != equal || m.time != noTimePart} {
		if on {
			kinds++
		}
	}
	affixes := m.part || m.startswith || m.endswith
	switch {
	case kinds > 1, affixes && kinds > 0 && !m.fieldref:
		return fmt.Errorf("modifiers %s can't be combined", strings.Join(m.modifiers, ", "))
	case m.keyword && (m.exists || m.fieldref):
		return fmt.Errorf("modifiers %s need a field", strings.Join(m.modifiers, ", "))
	}
	return nil
}

// transform applies a string modifier to one pattern.
func transform(name string, p pattern) ([]pattern, error) {
	switch name {
	case "contains":
		return []pattern{p.withStars(true, true)}, nil
	case "startswith":
		return []pattern{p.withStars(false, true)}, nil
	case "endswith":
		return []pattern{p.withStars(true, false)}, nil
	case "windash":
		return windash(p)
	case "wide", "utf16le":
		return []pattern{p.mapLiterals(func(s string) string { return utf16Bytes(s, false) })}, nil
	case "utf16be":
		return []pattern{p.mapLiterals(func(s string) string { return utf16Bytes(s, true) })}, nil
	case "utf16": // with the byte order mark of little endian
		p = p.mapLiterals(func(s string) string { return utf16Bytes(s, false) })
		return []pattern{append(pattern{{literal, "\xFF\xFE"}}, p...).canonical()}, nil
	}
	if p.hasWildcard() {
		return nil, errors.New("the value can't have wildcards")
	}
	if name == "base64" {
		return []pattern{{{literal, base64.StdEncoding.EncodeToString([]byte(p.plain()))}}}, nil
	}
	return base64Offsets(p.plain()), nil
}
