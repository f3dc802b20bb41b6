package sigma

import (
	"fmt"
	"strings"
)

// Meta is what every document says of itself. Parse fills it in, and Compile
// copies it. In between, a caller may complete it, with an ID for instance;
// afterwards nobody changes it.
type Meta struct {
	ID, Name, Title, Description, Status, Author, Date, Modified, License string

	References, Tags, FalsePositives, Fields []string

	Level Level

	// File is the name given to Parse, Line where the document starts in it.
	File string
	Line int

	// Warnings are what the specification frowns upon and Parse let pass,
	// such as operators in upper case.
	Warnings []string

	// For Lint only.
	keys, sourceKeys []named // of the document and of its logsource, in order
	related          []relative
	doubts           []warning // what Warnings are made of
}

// A Rule is one Sigma rule. Parse makes rules and Compile copies them into a
// RuleSet; after that nobody changes them, so rules are safe for concurrent
// use.
type Rule struct {
	Meta
	LogSource LogSource

	search

	// Of a compiled rule.
	prog     *program
	observed []string
	silent   bool
}

// A LogSource says where an event comes from or, in a rule, which events the
// rule is about. In a rule an empty part matches anything.
//
// See "Log Source" in the Sigma Rules Specification.
type LogSource struct{ Product, Category, Service string }

// String returns the parts joined by slashes, as in "windows/process_creation/".
func (l LogSource) String() string {
	return l.Product + "/" + l.Category + "/" + l.Service
}

// Covers reports whether every non-empty part of l equals that of source,
// without regard to ASCII case.
func (l LogSource) Covers(source LogSource) bool {
	return covers(l.Product, source.Product) && covers(l.Category, source.Category) && covers(l.Service, source.Service)
}

func covers(want, have string) bool { return want == "" || equalASCIIFold(want, have) }

// A Level says how bad it is when a rule fires. Levels are ordered.
type Level uint8

// The levels of Sigma. NoLevel is the zero value. The specification makes the
// level optional and names no default: Parse gives a rule without one Medium
// and a warning, and Compile a correlation the highest of its rules.
const (
	NoLevel Level = iota
	Informational
	Low
	Medium
	High
	Critical
)

var levelNames = [...]string{"", "informational", "low", "medium", "high", "critical"}

// String returns the level as rules write it, "" for NoLevel.
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// ParseLevel returns the level of that name, without regard to case. Every
// other string, "" included, is an error.
func ParseLevel(s string) (Level, error) {
	for l := Informational; l <= Critical; l++ {
		if strings.EqualFold(s, levelNames[l]) {
			return l, nil
		}
	}
	return NoLevel, fmt.Errorf("unknown level %q (want informational, low, medium, high or critical)", s)
}

// MarshalText returns the level as String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText accepts what ParseLevel does, and "" for NoLevel.
func (l *Level) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*l = NoLevel
		return nil
	}
	v, err := ParseLevel(string(b))
	if err != nil {
		return err
	}
	*l = v
	return nil
}
