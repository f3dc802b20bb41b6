package parser

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/suggest"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// MaxNesting is how deeply parentheses, chains of not, and nested
// transformations may be nested.
const MaxNesting = 64

// maxConditionOperands is how many operands a condition may have, once its selectors are
// expanded.
const maxConditionOperands = 1 << 16

// ParseCondition reads a condition over operands of these names.
func ParseCondition(scalar *yaml.Node, operandNames []string) (ast.Condition, *ast.Diagnostic) {
	return new(parser).singleCondition(scalar, operandNames)
}

func (p *parser) singleCondition(scalar *yaml.Node, operandNames []string) (ast.Condition, *ast.Diagnostic) {
	c := conditionParser{node: scalar, tokens: ConditionTokens(scalar.Value), names: operandNames}
	cond, err := c.parse()
	for _, word := range c.upperCase {
		p.warn("operator_case", yamldoc.PositionOf(scalar), "write %q in lower case", word)
	}
	return cond, err
}

// ConditionTokens splits a condition into words, parentheses and pipes.
func ConditionTokens(s string) []string {
	var tokens []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		n := strings.IndexAny(s, "()| \t\r\n")
		switch n {
		case -1:
			n = len(s)
		case 0:
			n = 1
		}
		tokens = append(tokens, s[:n])
		s = s[n:]
	}
	return tokens
}

// A conditionParser is a recursive descent parser. Not binds most tightly, then
// and, then or; and and or associate to the left.
//
// See "Condition" in the Sigma Rules Specification.
type conditionParser struct {
	node      *yaml.Node
	tokens    []string
	names     []string
	depth     int
	operands  int      // read so far
	upperCase []string // operators in upper case
}

func (c *conditionParser) parse() (ast.Condition, *ast.Diagnostic) {
	cond, err := c.or()
	if err == nil && len(c.tokens) > 0 {
		err = c.unexpected()
	}
	return cond, err
}

func (c *conditionParser) errorf(format string, args ...any) *ast.Diagnostic {
	return yamldoc.ErrorAt(c.node, "%s", fmt.Sprintf(format, args...))
}

func (c *conditionParser) unexpected() *ast.Diagnostic {
	switch {
	case len(c.tokens) == 0:
		return c.errorf("the condition ends too early")
	case c.tokens[0] == "|":
		return c.errorf("aggregations are not part of Sigma 2").WithHint("write a correlation rule")
	}
	return c.errorf("unexpected %q in the condition", c.tokens[0])
}

// accept takes the word if it is next. The specification has operators in lower
// case only; others are accepted with a warning.
func (c *conditionParser) accept(word string) (accepted bool) {
	if len(c.tokens) == 0 || !strings.EqualFold(c.tokens[0], word) {
		return false
	}
	if c.tokens[0] != word {
		if slices.Contains(c.names, c.tokens[0]) {
			return false
		}
		c.upperCase = append(c.upperCase, c.tokens[0])
	}
	c.tokens = c.tokens[1:]
	return true
}

func (c *conditionParser) or() (ast.Condition, *ast.Diagnostic) { return c.binary("or", ast.Or, c.and) }

func (c *conditionParser) and() (ast.Condition, *ast.Diagnostic) {
	return c.binary("and", ast.And, c.not)
}

// binary reads operands that the word joins.
func (c *conditionParser) binary(word string, op ast.ConditionOp, next func() (ast.Condition, *ast.Diagnostic)) (ast.Condition, *ast.Diagnostic) {
	first, err := next()
	if err != nil {
		return first, err
	}
	operands := []ast.Condition{first}
	for c.accept(word) {
		operand, err := next()
		if err != nil {
			return operand, err
		}
		operands = append(operands, operand)
	}
	if len(operands) == 1 {
		return first, nil
	}
	return ast.Condition{Op: op, Operands: operands}, nil
}

func (c *conditionParser) not() (ast.Condition, *ast.Diagnostic) {
	if c.depth++; c.depth > MaxNesting {
		return ast.Condition{}, c.errorf("the condition is nested too deeply")
	}
	defer func() { c.depth-- }()
	if c.accept("not") {
		operand, err := c.not()
		return ast.Condition{Op: ast.Not, Operands: []ast.Condition{operand}}, err
	}
	if c.accept("(") {
		cond, err := c.or()
		if err == nil && !c.accept(")") {
			if len(c.tokens) == 0 {
				return cond, c.errorf("the condition lacks a closing parenthesis")
			}
			err = c.unexpected()
		}
		return cond, err
	}
	return c.operand()
}

// operand reads a name or a selector.
func (c *conditionParser) operand() (ast.Condition, *ast.Diagnostic) {
	if len(c.tokens) == 0 || slices.Contains([]string{"and", "or", "of", ")", "|"}, c.tokens[0]) {
		return ast.Condition{}, c.unexpected()
	}
	if len(c.tokens) > 1 && strings.EqualFold(c.tokens[1], "of") {
		return c.selector()
	}
	name := c.tokens[0]
	i := slices.Index(c.names, name)
	if i < 0 {
		return ast.Condition{}, c.errorf("the condition names %q, which does not exist", name).WithHint(suggest.DidYouMean(name, c.names, ""))
	}
	c.tokens = c.tokens[1:]
	return ast.Condition{Index: i}, c.countOperands(1)
}

// countOperands counts added operands against maxConditionOperands.
func (c *conditionParser) countOperands(added int) *ast.Diagnostic {
	if c.operands += added; c.operands > maxConditionOperands {
		return c.errorf("the condition has more than %d operands", maxConditionOperands)
	}
	return nil
}

// selector reads "1 of x*", "any of x*" or "all of x*", where x* is a name, a
// pattern, or "them". Selecting nothing is an error: whether such a selector
// held would be arbitrary.
func (c *conditionParser) selector() (ast.Condition, *ast.Diagnostic) {
	op := ast.Or
	switch {
	case c.accept("1"), c.accept("any"):
	case c.accept("all"):
		op = ast.And
	default:
		return ast.Condition{}, c.errorf("%q can't stand before \"of\"", c.tokens[0]).WithHint("write 1, any or all")
	}
	c.accept("of")
	if len(c.tokens) == 0 || slices.Contains([]string{"(", ")", "|"}, c.tokens[0]) {
		return ast.Condition{}, c.unexpected()
	}
	pattern := c.tokens[0]
	if c.accept("them") {
		pattern = "*"
	} else {
		c.tokens = c.tokens[1:]
	}
	var selected []ast.Condition
	for i, name := range c.names {
		if SelectorMatches(pattern, name) {
			selected = append(selected, ast.Condition{Index: i})
		}
	}
	switch len(selected) {
	case 0:
		return ast.Condition{}, c.errorf("no search is named like %q", pattern).WithHint(suggest.DidYouMean(strings.TrimRight(pattern, "*_"), c.names, ""))
	case 1:
		return selected[0], nil
	}
	return ast.Condition{Op: op, Operands: selected}, c.countOperands(len(selected))
}

// SelectorMatches reports whether the pattern of a selector selects a name: it matches
// all of the name, a * matching anything. Names that begin with an underscore
// are selected only by patterns that do too.
func SelectorMatches(pattern, name string) bool {
	if strings.HasPrefix(name, "_") && !strings.HasPrefix(pattern, "_") {
		return false
	}
	pieces := strings.Split(pattern, "*")
	if len(pieces) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, pieces[0])
	if !ok {
		return false
	}
	last := pieces[len(pieces)-1]
	for _, piece := range pieces[1 : len(pieces)-1] {
		i := strings.Index(rest, piece)
		if i < 0 {
			return false
		}
		rest = rest[i+len(piece):]
	}
	return strings.HasSuffix(rest, last)
}
