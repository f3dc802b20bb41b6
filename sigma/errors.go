package sigma

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnsupported is wrapped by the errors about documents and modifiers that
// the Sigma specification defines and this package does not evaluate.
var ErrUnsupported = errors.New("not supported yet")

// A Document is a kind of document that a rule file can hold.
type Document uint8

// The documents of Sigma 2. Parse returns rules only; it answers the others
// with a ParseError that names their kind and wraps ErrUnsupported.
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
	Err          error  // the kind of the error, or nil
}

// Error returns "file:line:column: reason (hint)".
func (e *ParseError) Error() string {
	s := position(e.File, e.Line, e.Column) + e.Reason
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns e.Err.
func (e *ParseError) Unwrap() error { return e.Err }

// A CompileError says why a rule was left out of a RuleSet.
type CompileError struct {
	Rule   *Rule // as given to Compile
	File   string
	Line   int // of the offending part of the rule
	Reason string
}

// Error returns "file:line: rule "title": reason".
func (e *CompileError) Error() string {
	return fmt.Sprintf("%srule %q: %s", position(e.File, e.Line, 0), e.Rule.Title, e.Reason)
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

// A lineError is a defect at a line, before it is known which file, document
// or rule it belongs to.
type lineError struct {
	line, column int
	reason, hint string
}

func (e *lineError) Error() string { return e.reason }

func errorAt(line int, format string, args ...any) *lineError {
	return &lineError{line: line, reason: fmt.Sprintf(format, args...)}
}

func (e *lineError) withHint(hint string) *lineError {
	e.hint = hint
	return e
}
