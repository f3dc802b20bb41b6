package sigma

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A condition is an expression over the detections of a rule. Its selectors
// ("1 of x*") are resolved already.
type condition struct {
	op        condOp
	kids      []condition // of and, or, not
	detection int         // of is: index into search.detections
}

type condOp uint8

const (
	condIs condOp = iota
	condAnd
	condOr
	condNot
)

// maxNesting bounds parentheses and chains of not in a condition.
const maxNesting = 64

func (p *parser) conditions(node *yaml.Node) *lineError {
	list := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		list = node.Content
	}
	for _, n := range list {
		n, err := p.resolve(n)
		if err != nil {
			return err
		}
		if n.Kind != yaml.ScalarNode || newScalar(n).kind == Null {
			return at(n, "a condition must be a text")
		}
		c := condParser{parser: p, node: n, tokens: condTokens(n.Value)}
		cond, err := c.parse()
		if err != nil {
			return err
		}
		p.search.conditions = append(p.search.conditions, cond)
		p.search.texts = append(p.search.texts, named{n.Value, placeOf(n)})
	}
	if len(p.search.conditions) == 0 {
		return at(node, "the detection has no condition")
	}
	return nil
}

// condTokens splits a condition into words, parentheses and pipes.
func condTokens(s string) []string {
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

// A condParser is a recursive descent parser. From loose to tight: or, and,
// not; all on two sides associate to the left.
//
// See "Condition" in the Sigma Rules Specification.
type condParser struct {
	*parser
	node   *yaml.Node
	tokens []string
	depth  int
}

func (c *condParser) parse() (condition, *lineError) {
	cond, err := c.or()
	if err == nil && len(c.tokens) > 0 {
		err = c.unexpected()
	}
	return cond, err
}

func (c *condParser) unexpected() *lineError {
	switch {
	case len(c.tokens) == 0:
		return at(c.node, "the condition ends too early")
	case c.tokens[0] == "|":
		return at(c.node, "aggregations are not part of Sigma 2").withHint("write a correlation rule")
	}
	return at(c.node, "unexpected %q in the condition", c.tokens[0])
}

// accept takes the word if it is next. Words are lower case in the
// specification; others are let through with a warning.
func (c *condParser) accept(word string) bool {
	if len(c.tokens) == 0 || !strings.EqualFold(c.tokens[0], word) {
		return false
	}
	if c.tokens[0] != word {
		if c.detectionNamed(c.tokens[0]) >= 0 {
			return false
		}
		c.warn("operator_case", placeOf(c.node), "write %q in lower case", c.tokens[0])
	}
	c.tokens = c.tokens[1:]
	return true
}

func (c *condParser) or() (condition, *lineError) { return c.chain("or", condOr, c.and) }

func (c *condParser) and() (condition, *lineError) { return c.chain("and", condAnd, c.not) }

func (c *condParser) chain(word string, op condOp, next func() (condition, *lineError)) (condition, *lineError) {
	first, err := next()
	if err != nil {
		return first, err
	}
	kids := []condition{first}
	for c.accept(word) {
		kid, err := next()
		if err != nil {
			return kid, err
		}
		kids = append(kids, kid)
	}
	if len(kids) == 1 {
		return first, nil
	}
	return condition{op: op, kids: kids}, nil
}

func (c *condParser) not() (condition, *lineError) {
	if c.depth++; c.depth > maxNesting {
		return condition{}, at(c.node, "the condition is nested too deeply")
	}
	defer func() { c.depth-- }()
	if c.accept("not") {
		kid, err := c.not()
		return condition{op: condNot, kids: []condition{kid}}, err
	}
	if c.accept("(") {
		cond, err := c.or()
		if err == nil && !c.accept(")") {
			if len(c.tokens) == 0 {
				return cond, at(c.node, "the condition lacks a closing parenthesis")
			}
			err = c.unexpected()
		}
		return cond, err
	}
	return c.operand()
}

func (c *condParser) operand() (condition, *lineError) {
	if len(c.tokens) == 0 || slices.Contains([]string{"and", "or", "of", ")", "|"}, c.tokens[0]) {
		return condition{}, c.unexpected()
	}
	if len(c.tokens) > 1 && strings.EqualFold(c.tokens[1], "of") {
		return c.selector()
	}
	name := c.tokens[0]
	i := c.detectionNamed(name)
	if i < 0 {
		return condition{}, at(c.node, "the condition names %q, which is not there", name).withHint(didYouMean(name, c.search.names(), ""))
	}
	c.tokens = c.tokens[1:]
	return condition{detection: i}, nil
}

func (c *condParser) detectionNamed(name string) int {
	return slices.IndexFunc(c.search.detections, func(d detection) bool { return d.name == name })
}

// selector reads "1 of x*", "any of x*" and "all of x*", where x* may be the
// name of one search, a pattern, or "them". A search whose name begins with an
// underscore is selected only by a pattern that does so too. Selecting nothing
// is an error: it would hold, or not, by accident.
func (c *condParser) selector() (condition, *lineError) {
	op := condOr
	switch {
	case c.accept("1"), c.accept("any"):
	case c.accept("all"):
		op = condAnd
	default:
		return condition{}, at(c.node, "%q can't stand before \"of\"", c.tokens[0]).withHint("write 1, any or all")
	}
	c.accept("of")
	if len(c.tokens) == 0 || slices.Contains([]string{"(", ")", "|"}, c.tokens[0]) {
		return condition{}, c.unexpected()
	}
	pat := c.tokens[0]
	if c.accept("them") {
		pat = "*"
	} else {
		c.tokens = c.tokens[1:]
	}
	var kids []condition
	for i, d := range c.search.detections {
		if strings.HasPrefix(d.name, "_") && !strings.HasPrefix(pat, "_") {
			continue
		}
		if matchName(pat, d.name) {
			kids = append(kids, condition{detection: i})
		}
	}
	switch len(kids) {
	case 0:
		return condition{}, at(c.node, "no search is named like %q", pat).withHint(didYouMean(strings.TrimRight(pat, "*_"), c.search.names(), ""))
	case 1:
		return kids[0], nil
	}
	return condition{op: op, kids: kids}, nil
}

// matchName reports whether the pattern, in which * stands for anything,
// matches all of name.
func matchName(pat, name string) bool {
	pieces := strings.Split(pat, "*")
	if len(pieces) == 1 {
		return pat == name
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
