package store

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/picket-edr/picket"
)

// Bounds of a query: what a person would write, with room to spare.
const (
	MaxQueryBytes = 16 << 10 // bytes
	maxQueryDepth = 64       // parentheses and nots inside each other
	maxQueryTerms = 512
)

// ParseQuery reads a hunt query:
//
//	query   = either { "or" either }
//	either  = term { [ "and" ] term }
//	term    = "not" term | "(" query ")" | field "=" value | field "!=" value
//	        | field "~" regex | word | "quoted text"
//
// Keywords are read without case. A value is a word or quoted text, with the
// wildcards * and ? in both, compared without case and in full; field!=value is
// not field=value. A regex is RE2, found anywhere in the value, with case; it
// is a word or quoted text too. A word ends at white space or a parenthesis.
// Inside quotes \" is a quote, and every other backslash stands for itself; so
// quoted text can't end in a backslash, but a word can.
//
// The nil Expr that an empty query gives selects all. Errors are
// picket.ErrInvalid and say where and how.
func ParseQuery(s string) (Expr, error) {
	p := parser{s: s}
	if len(s) > MaxQueryBytes {
		return nil, p.fail(MaxQueryBytes, "the query is longer than %d bytes", MaxQueryBytes)
	}
	if i := invalidUTF8(s); i >= 0 {
		return nil, p.fail(i, "the query is not UTF-8")
	}
	p.space()
	if p.at == len(s) {
		return nil, nil
	}
	x, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(s) {
		return nil, p.fail(p.at, "a parenthesis closes what none opened")
	}
	return x, nil
}

type parser struct {
	s     string
	at    int
	terms int
}

func (p *parser) fail(at int, format string, args ...any) error {
	return fmt.Errorf("query: %s, at character %d: %w",
		fmt.Sprintf(format, args...), utf8.RuneCountInString(p.s[:min(at, len(p.s))])+1, picket.ErrInvalid)
}

func (p *parser) space() {
	for p.at < len(p.s) {
		r, n := utf8.DecodeRuneInString(p.s[p.at:])
		if !unicode.IsSpace(r) {
			return
		}
		p.at += n
	}
}

// keyword consumes kw if it is the next word.
func (p *parser) keyword(kw string) bool {
	end := p.at + len(kw)
	if end > len(p.s) || !strings.EqualFold(p.s[p.at:end], kw) {
		return false
	}
	if r, _ := utf8.DecodeRuneInString(p.s[end:]); end < len(p.s) && !endsWord(r) {
		return false
	}
	p.at = end
	p.space()
	return true
}

func (p *parser) or(depth int) (Expr, error) {
	var xs Or
	for {
		x, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		xs = append(xs, x)
		if !p.keyword("or") {
			break
		}
	}
	if len(xs) == 1 {
		return xs[0], nil
	}
	return xs, nil
}

func (p *parser) and(depth int) (Expr, error) {
	var xs And
	for {
		x, err := p.term(depth)
		if err != nil {
			return nil, err
		}
		xs = append(xs, x)
		if p.keyword("and") {
			continue
		}
		if p.at == len(p.s) || p.s[p.at] == ')' || p.peekOr() {
			break
		}
	}
	if len(xs) == 1 {
		return xs[0], nil
	}
	return xs, nil
}

func (p *parser) peekOr() bool {
	at := p.at
	found := p.keyword("or")
	p.at = at
	return found
}

func (p *parser) term(depth int) (Expr, error) {
	if p.terms++; p.terms > maxQueryTerms {
		return nil, p.fail(p.at, "more than %d terms", maxQueryTerms)
	}
	if depth > maxQueryDepth {
		return nil, p.fail(p.at, "nested deeper than %d", maxQueryDepth)
	}
	start := p.at
	switch {
	case p.at == len(p.s):
		return nil, p.fail(p.at, "a term is missing at the end")
	case p.s[p.at] == ')':
		return nil, p.fail(p.at, "a term is missing before the parenthesis")
	case p.s[p.at] == '(':
		p.at++
		p.space()
		x, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.at == len(p.s) {
			return nil, p.fail(start, "the parenthesis is not closed")
		}
		p.at++
		p.space()
		return x, nil
	case p.keyword("not"):
		x, err := p.term(depth + 1)
		if err != nil {
			return nil, err
		}
		return Not{x}, nil
	case p.keyword("and"), p.keyword("or"):
		return nil, p.fail(start, "a term is missing before the keyword (in quotes it would be text to look for)")
	}
	return p.leaf()
}

func (p *parser) leaf() (Expr, error) {
	start := p.at
	var name string
	if p.s[p.at] == '"' {
		text, err := p.quoted()
		if err != nil {
			return nil, err
		}
		name = text
	} else {
		name = p.until(func(r rune) bool { return endsWord(r) || r == '"' || r == '=' || r == '~' })
		if p.at < len(p.s) && p.s[p.at] == '=' && strings.HasSuffix(name, "!") {
			name = name[:len(name)-1]
			p.at--
		}
	}
	rest := p.s[p.at:]
	var op string
	for _, o := range []string{"!=", "=", "~"} {
		if strings.HasPrefix(rest, o) {
			op = o
			break
		}
	}
	if op == "" {
		if err := p.endTerm(); err != nil {
			return nil, err
		}
		if name == "" {
			return nil, p.fail(start, "there is no text between the quotes")
		}
		return NewTextTerm(name), nil
	}
	if name == "" {
		return nil, p.fail(start, "a field is missing before %s (text that contains it goes in quotes)", op)
	}
	p.at += len(op)
	valueAt := p.at
	value, err := p.value(op)
	if err != nil {
		return nil, err
	}
	switch op {
	case "~":
		re, err := regexp.Compile(value)
		if err != nil {
			return nil, p.fail(valueAt, "%v", err)
		}
		return &RegexpTerm{Field: name, Re: re}, nil
	case "!=":
		return Not{&PatternTerm{Field: name, Pattern: NewPattern(value)}}, nil
	}
	return &PatternTerm{Field: name, Pattern: NewPattern(value)}, nil
}
