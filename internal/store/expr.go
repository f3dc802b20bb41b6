package store

import (
	"bytes"
	"regexp"
	"strings"
)

// An Expr selects events. The expressions are And, Or, Not, *TextTerm, *PatternTerm and
// *RegexpTerm, as ParseQuery makes them; they are immutable.
//
// Match is the meaning of a query. Stores may decide by whatever they keep
// beside the events, as long as it comes to the same.
type Expr interface {
	Match(d *EventView) bool
	// String writes the expression so that ParseQuery reads it back.
	String() string
}

// And selects what all its members select.
type And []Expr

// Or selects what any of its members selects.
type Or []Expr

// Not selects what X does not.
type Not struct{ X Expr }

// TextTerm selects events with a text anywhere: in names, values, or across them.
type TextTerm struct {
	text   string
	folded []byte
}

// PatternTerm selects events where any value of a field matches a pattern.
type PatternTerm struct {
	Field   string
	Pattern Pattern
}

// RegexpTerm selects events where a regular expression is found in any value of a
// field.
type RegexpTerm struct {
	Field string
	Re    *regexp.Regexp
}

// NewTextTerm returns the expression that looks for text anywhere.
func NewTextTerm(text string) *TextTerm { return &TextTerm{text: text, folded: AppendFold(nil, text)} }

// Folded returns the text looked for, folded. It must not be changed.
func (t *TextTerm) Folded() []byte { return t.folded }

// Match implements Expr.
func (a And) Match(d *EventView) bool {
	for _, x := range a {
		if !x.Match(d) {
			return false
		}
	}
	return true
}

// Match implements Expr.
func (o Or) Match(d *EventView) bool {
	for _, x := range o {
		if x.Match(d) {
			return true
		}
	}
	return false
}

// Match implements Expr.
func (n Not) Match(d *EventView) bool { return !n.X.Match(d) }

// Match implements Expr.
func (t *TextTerm) Match(d *EventView) bool { return bytes.Contains(d.Text(), t.folded) }

// Match implements Expr.
func (e *PatternTerm) Match(d *EventView) bool { return d.AnyValue(e.Field, e.Pattern.Match) }

// Match implements Expr.
func (r *RegexpTerm) Match(d *EventView) bool { return d.AnyValue(r.Field, r.Re.MatchString) }

func (a And) String() string { return join(a, " and ") }
func (o Or) String() string  { return join(o, " or ") }
func (n Not) String() string { return "not " + n.X.String() }

func (t *TextTerm) String() string {
	if isKeyword(t.text) || strings.ContainsAny(t.text, "=~") {
		return quote(t.text)
	}
	return word(t.text)
}

func (e *PatternTerm) String() string { return fieldName(e.Field) + "=" + word(e.Pattern.String()) }
func (r *RegexpTerm) String() string  { return fieldName(r.Field) + "~" + regexWord(r.Re.String()) }

func join(xs []Expr, op string) string {
	var b strings.Builder
	b.WriteByte('(')
	for i, x := range xs {
		if i > 0 {
			b.WriteString(op)
		}
		b.WriteString(x.String())
	}
	b.WriteByte(')')
	return b.String()
}

// fieldName quotes a name that would not be read as one word before an operator.
func fieldName(s string) string {
	if strings.ContainsAny(s, "=~") || strings.HasSuffix(s, "!") {
		return quote(s)
	}
	return word(s)
}

// word quotes what would not be read as one word.
func word(s string) string {
	if s == "" || strings.ContainsFunc(s, endsWord) || strings.Contains(s, `"`) {
		return quote(s)
	}
	return s
}

// regexWord leaves a regex with its parentheses in pairs as it is.
func regexWord(s string) string {
	open := 0
	for _, r := range s {
		switch {
		case r == '(':
			open++
		case r == ')' && open > 0:
			open--
		case endsWord(r) || r == '"':
			return quote(s)
		}
	}
	if s == "" {
		return quote(s)
	}
	return s
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
