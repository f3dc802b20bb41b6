package store

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/picket-edr/picket/sigma/casefold"
)

// An Expr is the condition of a query: And, Or, Not, *TextTerm, *PatternTerm or
// *RegexpTerm, as ParseQuery returns them. Expressions are immutable.
//
// Match defines what a query selects. Stores may use indexes instead, as long as
// the result is the same. Once the ContextChecker of the view has an error, the result means
// nothing.
type Expr interface {
	Match(v *EventView) bool
	// String returns the expression in the syntax of ParseQuery.
	String() string
}

// And selects the events that all its members select.
type And []Expr

// Or selects the events that any of its members selects.
type Or []Expr

// Not selects the events that X does not select.
type Not struct{ X Expr }

// A TextTerm selects the events that contain a text anywhere: in names, in values,
// or across several of them.
type TextTerm struct {
	text   string
	folded []byte
}

// A PatternTerm selects the events in which any value of a field matches a pattern.
type PatternTerm struct {
	Field   string
	Pattern Pattern
}

// A RegexpTerm selects the events in which a regular expression matches part of any
// value of a field.
type RegexpTerm struct {
	Field string
	Re    *regexp.Regexp
}

// NewTextTerm returns the term that selects the events that contain text.
func NewTextTerm(text string) *TextTerm {
	return &TextTerm{text: text, folded: []byte(casefold.String(text))}
}

// Folded returns the folded text. It must not be changed.
func (t *TextTerm) Folded() []byte { return t.folded }

// Match implements Expr.
func (a And) Match(v *EventView) bool {
	for _, x := range a {
		if !x.Match(v) {
			return false
		}
	}
	return true
}

// Match implements Expr.
func (o Or) Match(v *EventView) bool {
	for _, x := range o {
		if x.Match(v) {
			return true
		}
	}
	return false
}

// Match implements Expr.
func (n Not) Match(v *EventView) bool { return !n.X.Match(v) }

// Match implements Expr.
func (t *TextTerm) Match(v *EventView) bool {
	text := v.Text()
	return v.ContextChecker.CountBytes(len(text)) == nil && bytes.Contains(text, t.folded)
}

// Match implements Expr.
func (e *PatternTerm) Match(v *EventView) bool { return v.AnyValue(e.Field, e.Pattern.Match) }

// Match implements Expr.
func (r *RegexpTerm) Match(v *EventView) bool { return v.AnyValue(r.Field, r.MatchValue) }

// MatchValue reports whether the expression matches part of a value. It sees no more
// of the value than MaxRegexpInputBytes.
func (r *RegexpTerm) MatchValue(s string) bool { return r.Re.MatchString(truncateForRegexp(s)) }

func (a And) String() string { return joinExprs(a, " and ") }
func (o Or) String() string  { return joinExprs(o, " or ") }
func (n Not) String() string { return "not " + n.X.String() }

func (t *TextTerm) String() string {
	if isKeyword(t.text) || strings.ContainsAny(t.text, "=~") {
		return quoteText(t.text)
	}
	return quoteUnlessWord(t.text)
}

func (e *PatternTerm) String() string {
	return quoteFieldName(e.Field) + "=" + quoteUnlessWord(e.Pattern.String())
}
func (r *RegexpTerm) String() string {
	return quoteFieldName(r.Field) + "~" + quoteUnlessRegexWord(r.Re.String())
}

func joinExprs(xs []Expr, op string) string {
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

// quoteFieldName quotes a name that the parser would not read as one word before an
// operator.
func quoteFieldName(s string) string {
	if strings.ContainsAny(s, "=~") || strings.HasSuffix(s, "!") {
		return quoteText(s)
	}
	return quoteUnlessWord(s)
}

// quoteUnlessWord quotes what the parser would not read as one word.
func quoteUnlessWord(s string) string {
	if s == "" || strings.ContainsFunc(s, endsWord) || strings.Contains(s, `"`) {
		return quoteText(s)
	}
	return s
}

// quoteUnlessRegexWord is word for a regex, which may contain balanced parentheses.
func quoteUnlessRegexWord(s string) string {
	open := 0
	for _, r := range s {
		switch {
		case r == '(':
			open++
		case r == ')' && open > 0:
			open--
		case endsWord(r) || r == '"':
			return quoteText(s)
		}
	}
	if s == "" {
		return quoteText(s)
	}
	return s
}

func quoteText(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
