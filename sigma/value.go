package sigma

// A Kind says which JSON type a Value had.
type Kind uint8

// The kinds of values. The zero Kind is Null.
const (
	Null Kind = iota
	String
	Number
	Bool
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case String:
		return "string"
	case Number:
		return "number"
	case Bool:
		return "bool"
	}
	return "unknown"
}

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
