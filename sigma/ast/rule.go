package ast

import (
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/casefold"
)

// Meta holds the attributes that all kinds of documents have in common. A
// caller may set some before it compiles the document, an ID for instance, and
// must not change them afterwards.
type Meta struct {
	ID, Name, Title, Description, Status, Author, Date, Modified, License string

	References, Tags, FalsePositives, Fields []string

	Level Level

	// File is the name given to the parser, and Line the line on which the
	// document starts.
	File string
	Line int

	// Warnings list what the specification forbids or advises against and the
	// parser accepted all the same, such as operators in upper case.
	Warnings []Warning

	// Keys are the keys of the document, LogSourceKeys those of its logsource,
	// and Related its related rules, in the order of the file. Package lint
	// checks them.
	Keys, LogSourceKeys []LocatedText
	Related             []RelatedRule
}

// IDOrName returns the name by which observations refer to the document: its ID,
// or its Name if it has no ID.
func (m *Meta) IDOrName() string {
	if m.ID != "" {
		return m.ID
	}
	return m.Name
}

// MatchesRef reports whether ref is the document's ID or Name.
func (m *Meta) MatchesRef(ref string) bool {
	return ref != "" && (strings.EqualFold(m.ID, ref) || m.Name == ref)
}

// A LocatedText is a string in a file with its position.
type LocatedText struct {
	Text string
	Position
}

// A Warning is a defect that the parser accepted.
type Warning struct {
	Check string // the lint check that reports it
	Position
	Reason string
}

// String returns "line 3: reason".
func (w Warning) String() string { return fmt.Sprintf("line %d: %s", w.Line, w.Reason) }

// A RelatedRule is an entry of a document's list of related rules.
type RelatedRule struct {
	ID, Type string
	Position
}

// A Rule is a parsed rule.
type Rule struct {
	Meta
	LogSource  LogSource
	Detections Detections
}

// A LogSource names the source of an event or, in a rule, the sources that the
// rule applies to. An empty part of a rule's LogSource matches anything.
//
// See "Log Source" in the Sigma Rules Specification.
type LogSource struct{ Product, Category, Service string }

// String returns the parts that are not empty joined by slashes, as in
// "windows/process_creation". A category and a service of the same name appear once.
func (l LogSource) String() string {
	if l.Service == l.Category {
		l.Service = ""
	}
	return strings.Join(slices.DeleteFunc([]string{l.Product, l.Category, l.Service}, func(s string) bool { return s == "" }), "/")
}

// Covers reports whether each non-empty part of l equals that of source,
// ignoring ASCII case.
func (l LogSource) Covers(source LogSource) bool {
	return covers(l.Product, source.Product) && covers(l.Category, source.Category) && covers(l.Service, source.Service)
}

func covers(want, have string) bool { return want == "" || casefold.EqualASCII(want, have) }

// A Level is the severity of a match. Levels are ordered.
type Level uint8

// The levels of Sigma. NoLevel is the zero value. The specification makes the
// level optional and defines no default: a rule without one is parsed as
// Medium, with a warning, and a correlation without one is compiled with the
// highest level of its rules.
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

// ParseLevel returns the level of that name, ignoring case. Any other string,
// "" included, is an error.
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
