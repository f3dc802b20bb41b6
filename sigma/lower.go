package sigma

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// An expr is what a rule boils down to.
type expr struct {
	op   exprOp
	kids []expr // of and, or, not
	atom int32  // of is: index into compiler.atoms
	cost int32  // of answering it, in rough nanoseconds
}

type exprOp uint8

const (
	exprIs exprOp = iota
	exprAnd
	exprOr
	exprNot
)

func join(op exprOp, kids []expr) expr {
	if len(kids) == 1 {
		return kids[0]
	}
	var flat []expr
	for _, k := range kids {
		if k.op == op {
			flat = append(flat, k.kids...)
		} else {
			flat = append(flat, k)
		}
	}
	return expr{op: op, kids: flat}
}

// condition lowers a condition over the detections, lowered already.
func (c condition) lower(detections []expr) expr {
	if c.op == condIs {
		return detections[c.detection]
	}
	var kids []expr
	for _, k := range c.kids {
		kids = append(kids, k.lower(detections))
	}
	switch c.op {
	case condNot:
		return expr{op: exprNot, kids: kids}
	case condAnd:
		return join(exprAnd, kids)
	}
	return join(exprOr, kids)
}

// search lowers a whole detection block.
func (c *compiler) search(s *search) (expr, error) {
	detections := make([]expr, len(s.detections))
	for i, d := range s.detections {
		var err error
		if detections[i], err = c.alternatives(d.alternatives); err != nil {
			return expr{}, err
		}
	}
	var conds []expr
	for _, cond := range s.conditions {
		conds = append(conds, cond.lower(detections))
	}
	return join(exprOr, conds), nil
}

func (c *compiler) alternatives(any []allOf) (expr, error) {
	var alts []expr
	for _, all := range any {
		var kids []expr
		for _, it := range all {
			if it.nested != nil {
				e, err := c.alternatives(it.nested)
				if err != nil {
					return e, err
				}
				kids = append(kids, e)
				continue
			}
			e, err := c.item(it)
			if err != nil {
				return e, errorAt(it.place, "%s: %v", itemName(it), err)
			}
			kids = append(kids, e)
		}
		alts = append(alts, join(exprAnd, kids))
	}
	return join(exprOr, alts), nil
}

func itemName(it item) string {
	if it.keyword {
		return "keywords"
	}
	return "field " + it.field
}

func (c *compiler) item(it item) (expr, error) {
	m, err := modify(it, c.options.Placeholders)
	if err != nil {
		return expr{}, err
	}
	var e expr
	if m.all {
		var kids []expr
		for _, alts := range m.values {
			kid, err := c.anyOf(m, alts)
			if err != nil {
				return e, err
			}
			kids = append(kids, kid)
		}
		e = join(exprAnd, kids)
	} else if e, err = c.anyOf(m, slices.Concat(m.values...)); err != nil {
		return e, err
	}
	if m.negated {
		e = expr{op: exprNot, kids: []expr{e}}
	}
	return e, nil
}

// anyOf lowers the operands to as few atoms as will do.
func (c *compiler) anyOf(m *modified, ops []operand) (expr, error) {
	field := int32(anyField)
	if !m.keyword {
		field = c.field(m.field)
	}
	literals := atom{op: opLiterals, field: field, cased: m.cased}
	numbers := atom{op: opNumber, field: field}
	nets := atom{op: opCIDR, field: field}
	var kids []expr
	for _, o := range ops {
		a, err := c.atomOf(m, o)
		if err != nil {
			return expr{}, err
		}
		a.field = field
		switch a.op {
		case opLiterals:
			literals.literals = append(literals.literals, a.literals...)
		case opNumber:
			numbers.numbers = append(numbers.numbers, a.numbers...)
		case opCIDR:
			nets.nets = append(nets.nets, a.nets...)
		default:
			kids = append(kids, c.intern(a))
		}
	}
	if literals.literals != nil {
		kids = append(kids, c.intern(literals))
	}
	if numbers.numbers != nil {
		kids = append(kids, c.intern(numbers))
	}
	if nets.nets != nil {
		kids = append(kids, c.intern(nets))
	}
	return join(exprOr, kids), nil
}

// atomOf returns the atom of one operand, but for the field.
func (c *compiler) atomOf(m *modified, o operand) (atom, error) {
	s := o.scalar
	switch {
	case m.exists:
		if o.kind != boolOperand {
			return atom{}, errors.New("modifier exists needs true or false")
		}
		return atom{op: opExists, want: s.text == "true"}, nil
	case m.re:
		if o.kind == nullOperand {
			return atom{}, errors.New("modifier re needs a string, not null")
		}
		re, err := c.regex(s.text, m.flags)
		if err != nil {
			return atom{}, fmt.Errorf("modifier re: %w", err)
		}
		return atom{op: opRegex, regex: re}, nil
	case m.cidr:
		if o.kind != textOperand || o.pattern.hasWildcard() {
			return atom{}, errors.New("modifier cidr needs a network, as in 10.0.0.0/8")
		}
		p, err := parsePrefix(o.pattern.plain())
		if err != nil {
			return atom{}, fmt.Errorf("modifier cidr: %w", err)
		}
		return atom{op: opCIDR, nets: []netip.Prefix{p}}, nil
	case m.fieldref:
		if o.kind != textOperand || o.pattern.hasWildcard() || o.pattern.plain() == "" {
			return atom{}, errors.New("modifier fieldref needs the name of a field")
		}
		a := atom{op: opFieldRef, other: c.field(o.pattern.plain()), cased: m.cased}
		switch {
		case m.part || m.startswith && m.endswith:
			a.how = contains
		case m.startswith:
			a.how = prefix
		case m.endswith:
			a.how = suffix
		}
		return a, nil
	case m.compare != equal || m.time != noTimePart:
		if o.kind != numberOperand {
			return atom{}, fmt.Errorf("modifier %s needs a number", m.modifiers[len(m.modifiers)-1])
		}
		d, _ := parseDecimal(s.text)
		return atom{op: opCompare, compare: m.compare, part: m.time, numbers: []decimal{d}}, nil
	case o.kind == nullOperand:
		return atom{op: opNull}, nil
	case o.kind == numberOperand && !m.keyword:
		d, _ := parseDecimal(s.text)
		return atom{op: opNumber, numbers: []decimal{d}}, nil
	case o.kind != textOperand:
		o.pattern = pattern{{literal, s.text}}
	}
	if m.keyword && !m.startswith && !m.endswith {
		o.pattern = o.pattern.withStars(true, true)
	}
	return patternAtom(o.pattern.canonical(), m.cased), nil
}

// patternAtom returns the cheapest atom for a canonical pattern.
func patternAtom(p pattern, cased bool) atom {
	text := p
	if !cased {
		text = p.mapLiterals(fold)
	}
	one := func(h how, s string) atom {
		return atom{op: opLiterals, cased: cased, literals: []literalTest{{how: h, text: []byte(s), needle: newNeedle([]byte(s))}}}
	}
	switch {
	case len(p) == 0:
		return one(equals, "")
	case len(p) == 1 && p[0].kind == literal:
		return one(equals, text[0].text)
	case len(p) == 1 && p[0].kind == star:
		return atom{op: opAny}
	case len(p) == 2 && p[0].kind == literal && p[1].kind == star:
		return one(prefix, text[0].text)
	case len(p) == 2 && p[0].kind == star && p[1].kind == literal:
		return one(suffix, text[1].text)
	case len(p) == 3 && p[0].kind == star && p[1].kind == literal && p[2].kind == star:
		return one(contains, text[1].text)
	}
	a := atom{op: opGlob, cased: cased, glob: newGlob(text)}
	for _, q := range p {
		if q.kind == literal {
			a.gate = append(a.gate, []byte(fold(q.text)))
		}
	}
	return a
}

// key returns a text that is the same for equal atoms.
func (a *atom) key() string {
	var b strings.Builder
	num := func(ns ...int) {
		for _, n := range ns {
			b.WriteString(strconv.Itoa(n))
			b.WriteByte(' ')
		}
	}
	num(int(a.op), int(a.field), int(a.compare), int(a.part), int(a.other), int(a.how))
	fmt.Fprint(&b, a.cased, a.want, " ")
	for _, l := range a.literals {
		num(int(l.how), len(l.text))
		b.Write(l.text)
	}
	if a.glob != nil {
		fmt.Fprint(&b, a.glob.head, a.glob.tail)
		for _, seg := range a.glob.segments {
			b.WriteByte('*')
			for _, q := range seg {
				if q.literal == nil {
					b.WriteByte('?')
				} else {
					num(len(q.literal))
					b.Write(q.literal)
				}
			}
		}
	}
	if a.regex != nil {
		b.WriteString(a.regex.source)
	}
	for _, d := range a.numbers {
		fmt.Fprint(&b, d.neg, d.exp, strings.ReplaceAll(d.digits, ".", ""), " ")
	}
	for _, p := range a.nets {
		b.WriteString(p.String() + " ")
	}
	return b.String()
}
