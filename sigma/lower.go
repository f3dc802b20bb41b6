package sigma

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/casefold"
	"github.com/picket-edr/picket/sigma/internal/decimal"
	"github.com/picket-edr/picket/sigma/internal/literalindex"
	"github.com/picket-edr/picket/sigma/internal/pattern"
	"github.com/picket-edr/picket/sigma/regexpsize"
)

// An expr is a boolean expression over atoms: a rule in executable form.
type expr struct {
	op       exprOp
	operands []expr // of and, or, not
	atom     int32  // of exprAtom: index into sharedTables.atoms
	cost     int32  // of evaluating it, in nanoseconds, roughly
}

type exprOp uint8

const (
	exprAtom exprOp = iota
	exprAnd
	exprOr
	exprNot
)

// joinExprs makes one expression of operands, merging nested ones of the same
// operator.
func joinExprs(op exprOp, operands []expr) expr {
	if len(operands) == 1 {
		return operands[0]
	}
	var flat []expr
	for _, e := range operands {
		if e.op == op {
			flat = append(flat, e.operands...)
		} else {
			flat = append(flat, e)
		}
	}
	return expr{op: op, operands: flat}
}

// countNodes returns how many nodes e has.
func (e *expr) countNodes() int {
	n := 1
	for i := range e.operands {
		n += e.operands[i].countNodes()
	}
	return n
}

// Bounds on what documents cost: on the nodes of an expression, in which each
// reference to a search is a copy of it and to which filters are added, and on the
// bytes of the patterns and regular expressions that values expand to, for example
// by the modifier windash, beyond freeExpansionFactor times the values themselves.
const (
	maxDocumentExprNodes    = 1 << 16 // of a document
	maxRuleSetExprNodes     = 1 << 21 // of all documents
	maxDocumentPatternBytes = 2 << 20
	maxRuleSetPatternBytes  = 16 << 20
	freeExpansionFactor     = 8
	regexNodeBytes          = 40 // that a node of a regular expression counts for
)

// countConditionNodes returns how many nodes c has once lowered, given those of the searches.
func countConditionNodes(c *ast.Condition, searchNodes []int) int {
	if c.Op == ast.Ref {
		return searchNodes[c.Index]
	}
	n := 1
	for i := range c.Operands {
		n += countConditionNodes(&c.Operands[i], searchNodes)
	}
	return n
}

// lowerCondition lowers a condition over searches that are lowered already.
func lowerCondition(c *ast.Condition, searches []expr) expr {
	if c.Op == ast.Ref {
		return searches[c.Index]
	}
	var operands []expr
	for i := range c.Operands {
		operands = append(operands, lowerCondition(&c.Operands[i], searches))
	}
	switch c.Op {
	case ast.Not:
		return expr{op: exprNot, operands: operands}
	case ast.And:
		return joinExprs(exprAnd, operands)
	}
	return joinExprs(exprOr, operands)
}

// lowerDetections lowers a detection block.
func (c *compiler) lowerDetections(d *ast.Detections) (expr, *ast.Diagnostic) {
	c.documentBudgetBytes = min(maxDocumentPatternBytes, maxRuleSetPatternBytes-c.patternBytes)
	defer func(before int) { c.patternBytes += max(before-c.documentBudgetBytes, 0) }(c.documentBudgetBytes)
	searches, nodes := make([]expr, len(d.Searches)), make([]int, len(d.Searches))
	for i, s := range d.Searches {
		var err *ast.Diagnostic
		if searches[i], err = c.lowerAlternatives(s.Alternatives); err != nil {
			return expr{}, err
		}
		nodes[i] = searches[i].countNodes()
	}
	total := 0
	for i := range d.Conditions {
		if total += countConditionNodes(&d.Conditions[i], nodes); total > maxDocumentExprNodes {
			return expr{}, ast.ErrorAt(ast.Position{}, "the condition is too large: with the searches that it names it has more than %d parts", maxDocumentExprNodes)
		}
	}
	if c.nodes += total; c.nodes > maxRuleSetExprNodes {
		c.nodes -= total
		return expr{}, ast.ErrorAt(ast.Position{}, "all rules together are too large: more than %d parts", maxRuleSetExprNodes)
	}
	var conditions []expr
	for i := range d.Conditions {
		conditions = append(conditions, lowerCondition(&d.Conditions[i], searches))
	}
	return joinExprs(exprOr, conditions), nil
}

func (c *compiler) lowerAlternatives(alternatives []ast.Conjunction) (expr, *ast.Diagnostic) {
	var lowered []expr
	for _, all := range alternatives {
		var operands []expr
		for _, it := range all {
			if it.Nested != nil {
				e, err := c.lowerAlternatives(it.Nested)
				if err != nil {
					return e, err
				}
				operands = append(operands, e)
				continue
			}
			e, err := c.lowerItem(it)
			if err != nil {
				return e, ast.ErrorAt(it.Position, "%s: %v", it.Label(), err)
			}
			operands = append(operands, e)
		}
		lowered = append(lowered, joinExprs(exprAnd, operands))
	}
	return joinExprs(exprOr, lowered), nil
}

func (c *compiler) lowerItem(it ast.DetectionItem) (expr, error) {
	m, err := c.applyModifiers(it)
	if err != nil {
		return expr{}, err
	}
	var e expr
	if m.all {
		var operands []expr
		for _, alternatives := range m.values {
			operand, err := c.lowerAnyOf(m, alternatives)
			if err != nil {
				return e, err
			}
			operands = append(operands, operand)
		}
		e = joinExprs(exprAnd, operands)
	} else if e, err = c.lowerAnyOf(m, slices.Concat(m.values...)); err != nil {
		return e, err
	}
	if m.negated {
		e = expr{op: exprNot, operands: []expr{e}}
	}
	return e, nil
}

// lowerAnyOf lowers alternative values to as few atoms as possible.
func (c *compiler) lowerAnyOf(m *modifiedItem, values []modifiedValue) (expr, error) {
	field := int32(anyField)
	if !m.Keyword {
		field = c.internField(m.Field)
	}
	literals := atom{op: opLiterals, field: field, cased: m.cased}
	numbers := atom{op: opNumberEquals, field: field}
	nets := atom{op: opCIDR, field: field}
	var operands []expr
	for _, v := range values {
		a, err := c.atomFor(m, v)
		if err != nil {
			return expr{}, err
		}
		a.field = field
		switch a.op {
		case opLiterals:
			literals.literals = append(literals.literals, a.literals...)
		case opNumberEquals:
			numbers.numbers = append(numbers.numbers, a.numbers...)
		case opCIDR:
			nets.nets = append(nets.nets, a.nets...)
		default:
			operands = append(operands, c.internAtom(a))
		}
	}
	if literals.literals != nil {
		operands = append(operands, c.internAtom(literals))
	}
	if numbers.numbers != nil {
		operands = append(operands, c.internAtom(numbers))
	}
	if nets.nets != nil {
		operands = append(operands, c.internAtom(nets))
	}
	return joinExprs(exprOr, operands), nil
}

// atomFor returns the atom of one value, without its field.
func (c *compiler) atomFor(m *modifiedItem, v modifiedValue) (atom, error) {
	s := v.scalar
	switch {
	case m.exists:
		if v.kind != boolValue {
			return atom{}, errors.New("modifier exists needs true or false")
		}
		return atom{op: opExists, want: s.Text == "true"}, nil
	case m.re:
		if v.kind == nullValue {
			return atom{}, errors.New("modifier re needs a string, not null")
		}
		size, err := regexpsize.Of(s.Text)
		if err == nil {
			if c.documentBudgetBytes -= size * regexNodeBytes; c.documentBudgetBytes < 0 {
				err = fmt.Errorf("the regular expressions of the rule are too large, once their repetitions are written out")
			}
		}
		if err != nil {
			return atom{}, fmt.Errorf("modifier re: %.300v", err)
		}
		re, err := c.internRegex(s.Text, m.flags)
		if err != nil {
			return atom{}, fmt.Errorf("modifier re: %w", err)
		}
		return atom{op: opRegex, regex: re}, nil
	case m.cidr:
		if v.kind != patternValue || v.pattern.HasWildcard() {
			return atom{}, errors.New("modifier cidr needs a network, as in 10.0.0.0/8")
		}
		p, err := parsePrefix(v.pattern.TextWithoutWildcards())
		if err != nil {
			return atom{}, fmt.Errorf("modifier cidr: %w", err)
		}
		return atom{op: opCIDR, nets: []netip.Prefix{p}}, nil
	case m.fieldref:
		return c.fieldRefAtom(m, v)
	case m.compare != equal || m.time != noTimePart:
		if v.kind != numberValue {
			return atom{}, fmt.Errorf("modifier %s needs a number", m.Modifiers[len(m.Modifiers)-1])
		}
		d, _ := decimal.Parse(s.Text)
		return atom{op: opCompare, compare: m.compare, part: m.time, numbers: []decimal.Decimal{d}}, nil
	case v.kind == nullValue:
		return atom{op: opNull}, nil
	case v.kind == numberValue && !m.Keyword:
		d, _ := decimal.Parse(s.Text)
		return atom{op: opNumberEquals, numbers: []decimal.Decimal{d}}, nil
	case v.kind != patternValue:
		v.pattern = pattern.FromLiteral(s.Text)
	}
	if m.Keyword && !m.startswith && !m.endswith {
		v.pattern = v.pattern.WithStars(true, true)
	}
	return patternAtom(v.pattern.Canonical(), m.cased), nil
}

func (c *compiler) fieldRefAtom(m *modifiedItem, v modifiedValue) (atom, error) {
	if v.kind != patternValue || v.pattern.HasWildcard() || v.pattern.TextWithoutWildcards() == "" {
		return atom{}, errors.New("modifier fieldref needs the name of a field")
	}
	a := atom{op: opFieldRef, other: c.internField(v.pattern.TextWithoutWildcards()), cased: m.cased}
	switch {
	case m.contains || m.startswith && m.endswith:
		a.placement = literalindex.Contains
	case m.startswith:
		a.placement = literalindex.Prefix
	case m.endswith:
		a.placement = literalindex.Suffix
	}
	return a, nil
}

// patternAtom returns the cheapest atom for a canonical pattern.
func patternAtom(p pattern.Pattern, cased bool) atom {
	folded := p
	if !cased {
		folded = p.MapLiterals(casefold.String)
	}
	literal := func(placement literalindex.Placement, s string) atom {
		return atom{op: opLiterals, cased: cased, literals: []literalindex.Literal{literalindex.NewLiteral(placement, s)}}
	}
	switch {
	case len(p) == 0:
		return literal(literalindex.Equals, "")
	case len(p) == 1 && p[0].Kind == pattern.Literal:
		return literal(literalindex.Equals, folded[0].Text)
	case len(p) == 1 && p[0].Kind == pattern.Star:
		return atom{op: opAnyValue}
	case len(p) == 2 && p[0].Kind == pattern.Literal && p[1].Kind == pattern.Star:
		return literal(literalindex.Prefix, folded[0].Text)
	case len(p) == 2 && p[0].Kind == pattern.Star && p[1].Kind == pattern.Literal:
		return literal(literalindex.Suffix, folded[1].Text)
	case len(p) == 3 && p[0].Kind == pattern.Star && p[1].Kind == pattern.Literal && p[2].Kind == pattern.Star:
		return literal(literalindex.Contains, folded[1].Text)
	}
	a := atom{op: opGlob, cased: cased, glob: newGlob(folded)}
	for _, q := range p {
		if q.Kind == pattern.Literal {
			a.required = append(a.required, []byte(casefold.String(q.Text)))
		}
	}
	return a
}

// key returns the same text for equal atoms, and no others.
func (a *atom) key() string {
	var b strings.Builder
	num := func(ns ...int) {
		for _, n := range ns {
			b.WriteString(strconv.Itoa(n))
			b.WriteByte(' ')
		}
	}
	num(int(a.op), int(a.field), int(a.compare), int(a.part), int(a.other), int(a.placement))
	fmt.Fprint(&b, a.cased, a.want, " ")
	for _, l := range a.literals {
		num(int(l.Placement), len(l.Text))
		b.Write(l.Text)
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
		b.WriteString(a.regex.Source())
	}
	for _, d := range a.numbers {
		b.WriteString(d.String() + " ")
	}
	for _, p := range a.nets {
		b.WriteString(p.String() + " ")
	}
	return b.String()
}
