package sigma

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
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

// base64Offsets returns what s looks like inside the base64 of a longer text,
// for the three ways in which it can fall into groups of three bytes: only the
// characters that depend on nothing but s.
func base64Offsets(s string) []pattern {
	var out []pattern
	for offset := range 3 {
		enc := base64.RawStdEncoding.EncodeToString([]byte("   "[:offset] + s))
		first := []int{0, 2, 3}[offset]
		last := (offset + len(s)) * 8 / 6
		if first < last {
			out = append(out, pattern{{literal, enc[first:last]}})
		}
	}
	return out
}

func utf16Bytes(s string, bigEndian bool) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		if bigEndian {
			b = append(b, byte(u>>8), byte(u))
		} else {
			b = append(b, byte(u), byte(u>>8))
		}
	}
	return string(b)
}

// dashes are what Windows programs take for the mark of an option.
var dashes = []string{"-", "/", "–", "—", "―"}

// windash puts each of the dashes wherever a word begins with - or /, in all
// combinations. As in pySigma, that is where the rune before is no part of a
// word and the one after is.
func windash(p pattern) ([]pattern, error) {
	out := []pattern{nil}
	add := func(parts ...part) error {
		if len(out)*len(parts) > maxAlternatives {
			return errors.New("the value has too many dashes")
		}
		next := make([]pattern, 0, len(out)*len(parts))
		for _, o := range out {
			for _, q := range parts {
				next = append(next, append(slices.Clip(o), q).canonical())
			}
		}
		out = next
		return nil
	}
	for _, q := range p {
		from := 0
		for i := 0; q.kind == literal && i < len(q.text); i++ {
			if c := q.text[i]; c != '-' && c != '/' || !startsWord(q.text, i) {
				continue
			}
			if err := add(part{literal, q.text[from:i]}); err != nil {
				return nil, err
			}
			var alts []part
			for _, d := range dashes {
				alts = append(alts, part{literal, d})
			}
			if err := add(alts...); err != nil {
				return nil, err
			}
			from = i + 1
		}
		rest := q
		rest.text = q.text[from:]
		if err := add(rest); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func startsWord(s string, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	after, _ := utf8.DecodeRuneInString(s[i+1:])
	return !isWord(before) && isWord(after)
}

func isWord(r rune) bool {
	return r != utf8.RuneError && (r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r))
}

// expandValue replaces the placeholders of a value by each of their values;
// several placeholders multiply. In a regex they stand for the text itself.
func expandValue(s scalar, raw bool, placeholders map[string][]string) ([]operand, error) {
	if s.kind != String {
		return []operand{{kind: kindOf(s), scalar: s}}, nil
	}
	var p pattern
	if raw {
		p = rawPattern(s.text)
	} else {
		p = parsePattern(s.text, true)
	}
	out := []pattern{nil}
	for _, q := range p {
		alts := []pattern{{q}}
		if q.kind == placeholder {
			alts = nil
			for _, v := range placeholders[q.text] {
				alts = append(alts, parsePattern(v, false))
			}
			if alts == nil {
				return nil, fmt.Errorf("modifier expand: placeholder %%%s%% has no value", q.text)
			}
			if raw {
				for i, a := range alts {
					alts[i] = pattern{{literal, a.regexpSource()}}
				}
			}
		}
		var next []pattern
		for _, o := range out {
			for _, a := range alts {
				next = append(next, append(slices.Clip(o), a...))
			}
		}
		if out = next; len(out) > maxAlternatives {
			return nil, errors.New("modifier expand: the value has too many variants")
		}
	}
	var ops []operand
	for _, o := range out {
		v := s
		if raw {
			v.text = o.plain()
		}
		ops = append(ops, operand{kind: textOperand, pattern: o.canonical(), scalar: v})
	}
	return ops, nil
}

// rawPattern finds the placeholders of a regex and leaves the rest alone.
func rawPattern(s string) pattern {
	var p pattern
	from := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		} else if s[i] == '%' {
			if name, n := placeholderAt(s[i:]); n > 0 {
				p = append(p, part{literal, s[from:i]}, part{placeholder, name})
				from = i + n
				i = from - 1
			}
		}
	}
	return append(p, part{literal, s[from:]})
}
