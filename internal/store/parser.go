package store

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/picket-edr/picket"
)

// Limits of a query, above what a person would write.
const (
	MaxQueryBytes = 16 << 10
	maxQueryDepth = 64 // parentheses and nots inside each other
	maxQueryTerms = 512
)

// ParseQuery reads a hunt query:
//
//	query   = either { "or" either }
//	either  = term { [ "and" ] term }
//	term    = "not" term | "(" query ")" | field "=" value | field "!=" value
//	        | field "~" regex | word | "quoted text"
//
// Keywords may be in any case. A value is a word or quoted text, may contain the
// wildcards * and ?, and must match a whole value of the field in any case;
// field!=value is "not field=value". A regex has RE2 syntax, is a word or quoted
// text too, and must match part of a value in the same case. It may be as large as
// MaxRegexpSize allows, and sees no more of a value than MaxRegexpInputBytes. A word ends
// at white space or a parenthesis. Inside quotes, \" is a quote and every other backslash is
// a backslash, so quoted text cannot end in a backslash, but a word can.
//
// An empty query returns a nil Expr, which selects all. Errors are
// picket.ErrInvalid; they say what is wrong, and where.
func ParseQuery(s string) (Expr, error) {
	p := parser{text: s}
	if len(s) > MaxQueryBytes {
		return nil, p.errorAt(MaxQueryBytes, "the query is longer than %d bytes", MaxQueryBytes)
	}
	if i := invalidUTF8Index(s); i >= 0 {
		return nil, p.errorAt(i, "the query is not UTF-8")
	}
	p.skipSpace()
	if p.pos == len(s) {
		return nil, nil
	}
	x, err := p.parseOr(0)
	if err != nil {
		return nil, err
	}
	if p.pos < len(s) {
		return nil, p.errorAt(p.pos, "there is no opening parenthesis for this one")
	}
	return x, nil
}

type parser struct {
	text       string
	pos        int
	terms      int
	regexpSize int // of the regular expressions so far
}

func (p *parser) errorAt(at int, format string, args ...any) error {
	return fmt.Errorf("query: %s, at character %d: %w",
		fmt.Sprintf(format, args...), utf8.RuneCountInString(p.text[:min(at, len(p.text))])+1, picket.ErrInvalid)
}

func (p *parser) skipSpace() {
	for p.pos < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.pos:])
		if !unicode.IsSpace(r) {
			return
		}
		p.pos += n
	}
}

// acceptKeyword consumes kw if it is the next word.
func (p *parser) acceptKeyword(kw string) bool {
	end := p.pos + len(kw)
	if end > len(p.text) || !strings.EqualFold(p.text[p.pos:end], kw) {
		return false
	}
	if r, _ := utf8.DecodeRuneInString(p.text[end:]); end < len(p.text) && !endsWord(r) {
		return false
	}
	p.pos = end
	p.skipSpace()
	return true
}

func (p *parser) parseOr(depth int) (Expr, error) {
	var xs Or
	for {
		x, err := p.parseAnd(depth)
		if err != nil {
			return nil, err
		}
		xs = append(xs, x)
		if !p.acceptKeyword("or") {
			break
		}
	}
	if len(xs) == 1 {
		return xs[0], nil
	}
	return xs, nil
}

func (p *parser) parseAnd(depth int) (Expr, error) {
	var xs And
	for {
		x, err := p.parseTerm(depth)
		if err != nil {
			return nil, err
		}
		xs = append(xs, x)
		if p.acceptKeyword("and") {
			continue
		}
		if p.pos == len(p.text) || p.text[p.pos] == ')' || p.nextIsOr() {
			break
		}
	}
	if len(xs) == 1 {
		return xs[0], nil
	}
	return xs, nil
}

func (p *parser) nextIsOr() bool {
	at := p.pos
	found := p.acceptKeyword("or")
	p.pos = at
	return found
}

func (p *parser) parseTerm(depth int) (Expr, error) {
	if p.terms++; p.terms > maxQueryTerms {
		return nil, p.errorAt(p.pos, "more than %d terms", maxQueryTerms)
	}
	if depth > maxQueryDepth {
		return nil, p.errorAt(p.pos, "nested deeper than %d", maxQueryDepth)
	}
	start := p.pos
	switch {
	case p.pos == len(p.text):
		return nil, p.errorAt(p.pos, "a term is missing at the end")
	case p.text[p.pos] == ')':
		return nil, p.errorAt(p.pos, "a term is missing before the parenthesis")
	case p.text[p.pos] == '(':
		p.pos++
		p.skipSpace()
		x, err := p.parseOr(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.pos == len(p.text) {
			return nil, p.errorAt(start, "the parenthesis is not closed")
		}
		p.pos++
		p.skipSpace()
		return x, nil
	case p.acceptKeyword("not"):
		x, err := p.parseTerm(depth + 1)
		if err != nil {
			return nil, err
		}
		return Not{x}, nil
	case p.acceptKeyword("and"), p.acceptKeyword("or"):
		return nil, p.errorAt(start, "a term is missing before the keyword (quote a keyword to search for it as text)")
	}
	return p.parseComparisonOrText()
}

func (p *parser) parseComparisonOrText() (Expr, error) {
	start := p.pos
	var name string
	if p.text[p.pos] == '"' {
		text, err := p.readQuoted()
		if err != nil {
			return nil, err
		}
		name = text
	} else {
		name = p.readUntil(func(r rune) bool { return endsWord(r) || r == '"' || r == '=' || r == '~' })
		if p.pos < len(p.text) && p.text[p.pos] == '=' && strings.HasSuffix(name, "!") {
			name = name[:len(name)-1]
			p.pos--
		}
	}
	rest := p.text[p.pos:]
	var op string
	for _, o := range []string{"!=", "=", "~"} {
		if strings.HasPrefix(rest, o) {
			op = o
			break
		}
	}
	if op == "" {
		if err := p.expectTermEnd(); err != nil {
			return nil, err
		}
		if name == "" {
			return nil, p.errorAt(start, "there is no text between the quotes")
		}
		return NewTextTerm(name), nil
	}
	if name == "" {
		return nil, p.errorAt(start, "a field is missing before %s (quote text that contains it)", op)
	}
	p.pos += len(op)
	valueAt := p.pos
	value, err := p.readValue(op)
	if err != nil {
		return nil, err
	}
	switch op {
	case "~":
		re, size, err := compileRegexp(value, min(MaxRegexpSize, MaxQueryRegexpSize-p.regexpSize))
		if err != nil {
			return nil, p.errorAt(valueAt, "%v", err)
		}
		p.regexpSize += size
		return &RegexpTerm{Field: name, Re: re}, nil
	case "!=":
		return Not{&PatternTerm{Field: name, Pattern: NewPattern(value)}}, nil
	}
	return &PatternTerm{Field: name, Pattern: NewPattern(value)}, nil
}
