package sigma

import "github.com/picket-edr/picket/sigma/ast"

// A Kind is the JSON type of a value.
type Kind = ast.Kind

// The kinds of values. The zero Kind is Null.
const (
	Null   = ast.Null
	String = ast.String
	Number = ast.Number
	Bool   = ast.Bool
)

// A Value is one scalar of an event. The zero Value is an explicit null.
type Value struct {
	Kind Kind
	// Text is the string, the number exactly as written in JSON, or "true" or
	// "false". It is ignored for Null.
	Text string
}

// A Field is one named value of an event. A name that occurs several times in
// an event is a multi-valued field (an array): a condition on it holds if it
// holds for any one of its values. An empty array is a field that is absent.
//
// Names are compared exactly, case included.
type Field struct {
	Name  string
	Value Value
}
