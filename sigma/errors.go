package sigma

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Document is a kind of document that a rule file can hold.
type Document uint8

// The documents of Sigma 2.
const (
	RuleDocument Document = iota
	CorrelationDocument
	FilterDocument
)

// String returns "rule", "correlation" or "filter".
func (d Document) String() string {
	switch d {
	case CorrelationDocument:
		return "correlation"
	case FilterDocument:
		return "filter"
	}
	return "rule"
}

// A ParseError is one defect of a rule file.
type ParseError struct {
	File         string
	Line, Column int      // from 1; 0 where unknown
	Document     Document // what kind of document it is about
	Reason       string
	Hint         string // what to write instead, or ""
}

// Error returns "file:line:column: reason (hint)".
func (e *ParseError) Error() string {
	s := position(e.File, e.Line, e.Column) + e.Reason
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// A CompileError says why a document was left out of a RuleSet or, when it is
// a filter that names a rule that is not there, what it lacks.
type CompileError struct {
	Document Document
	Meta     *Meta // of the document given to Compile

	// Line and Column are those of the offending part, from 1; Column is 0
	// where it is the document as a whole.
	Line, Column int

	Reason  string
	Hint    string // what to do about it, or ""
	Missing string // the rule that is named and not there, or ""
}

// Error returns "file:line:column: rule "title": reason (hint)".
func (e *CompileError) Error() string {
	s := fmt.Sprintf("%s%s %q: %s", position(e.Meta.File, e.Line, e.Column), e.Document, e.Meta.Title, e.Reason)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func position(file string, line, column int) string {
	var b strings.Builder
	if file != "" {
		b.WriteString(file + ":")
	}
	if line > 0 {
		fmt.Fprintf(&b, "%d:", line)
		if column > 0 {
			fmt.Fprintf(&b, "%d:", column)
		}
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	return b.String()
}

// A place is where something stands in a file; the column is 0 where only the
// line is known.
type place struct{ line, column int }

func placeOf(node *yaml.Node) place { return place{node.Line, node.Column} }

// A lineError is a defect at a place, before it is known which file, document
// or rule it belongs to.
type lineError struct {
	place
	reason, hint string
}

func (e *lineError) Error() string { return e.reason }

func errorAt(p place, format string, args ...any) *lineError {
	return &lineError{place: p, reason: fmt.Sprintf(format, args...)}
}

func (e *lineError) withHint(hint string) *lineError {
	e.hint = hint
	return e
}
