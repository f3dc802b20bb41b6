package ast

import (
	"fmt"
	"strings"
)

// A DocumentKind is a kind of document that a rule file can hold.
type DocumentKind uint8

// The kinds of documents of Sigma 2.
const (
	RuleDocument DocumentKind = iota
	CorrelationDocument
	FilterDocument
)

// String returns "rule", "correlation" or "filter".
func (k DocumentKind) String() string {
	switch k {
	case CorrelationDocument:
		return "correlation"
	case FilterDocument:
		return "filter"
	}
	return "rule"
}

// A Position is a place in a file, counted from 1. Line is 0 if the position
// is unknown, and Column is 0 if only the line is known.
type Position struct{ Line, Column int }

// Prefix returns the position in the form that compilers print before a
// message: "file:line:column: ", without the parts that are unknown.
func (p Position) Prefix(file string) string {
	var b strings.Builder
	if file != "" {
		b.WriteString(file + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, "%d:", p.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	return b.String()
}

// A Diagnostic says what is wrong at a position of a document.
type Diagnostic struct {
	Position
	Reason string
	Hint   string // what to do about it, or ""
}

// ErrorAt returns a Diagnostic without a hint.
func ErrorAt(p Position, format string, args ...any) *Diagnostic {
	return &Diagnostic{Position: p, Reason: fmt.Sprintf(format, args...)}
}

// WithHint sets the hint of d and returns d.
func (d *Diagnostic) WithHint(hint string) *Diagnostic {
	d.Hint = hint
	return d
}

// message returns the reason, and the hint in parentheses.
func (d *Diagnostic) message() string {
	if d.Hint == "" {
		return d.Reason
	}
	return d.Reason + " (" + d.Hint + ")"
}

// A ParseError is one defect of a rule file or a pipeline file.
type ParseError struct {
	File string
	Kind DocumentKind // of the document; RuleDocument for a pipeline
	Diagnostic
}

// Error returns "file:line:column: reason (hint)".
func (e *ParseError) Error() string { return e.Prefix(e.File) + e.message() }

// A DocumentError says why a parsed document was left out: it does not
// compile, or a pipeline failed on it. A filter or correlation that names an
// unknown rule has one too, though a filter then still applies to the other
// rules that it names.
type DocumentError struct {
	Kind DocumentKind
	Meta *Meta // of the document as it was given
	Diagnostic
	Missing string // the unknown rule that is named, or ""
}

// Error returns "file:line:column: rule "title": reason (hint)".
func (e *DocumentError) Error() string {
	return fmt.Sprintf("%s%s %q: %s", e.Prefix(e.Meta.File), e.Kind, e.Meta.Title, e.message())
}

// NewMissingRuleError returns the error of a document that refers, at a position, to
// an unknown rule.
func NewMissingRuleError(kind DocumentKind, m *Meta, p Position, ref string) *DocumentError {
	d := ErrorAt(p, "names the rule %q, which does not exist", ref).WithHint("rules are named by their id or name")
	return &DocumentError{Kind: kind, Meta: m, Diagnostic: *d, Missing: ref}
}
