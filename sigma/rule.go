package sigma

import "github.com/picket-edr/picket/sigma/ast"

// A LogSource names the source of an event.
type LogSource = ast.LogSource

// A Level is the severity of a match.
type Level = ast.Level

// The levels of Sigma.
const (
	NoLevel       = ast.NoLevel
	Informational = ast.Informational
	Low           = ast.Low
	Medium        = ast.Medium
	High          = ast.High
	Critical      = ast.Critical
)

// ParseLevel returns the level of that name, ignoring case. Any other string,
// "" included, is an error.
func ParseLevel(s string) (Level, error) { return ast.ParseLevel(s) }

// A Rule is a compiled rule. Compile makes rules, and they are safe for
// concurrent use.
type Rule struct {
	ast.Rule

	program           *ruleProgram
	correlationFields []string
	correlationOnly   bool
}

// CorrelationFields returns the fields of a matching event that correlations
// need: nil if no correlation of the RuleSet refers to the rule.
func (r *Rule) CorrelationFields() []string { return r.correlationFields }

// CorrelationOnly reports whether the rule raises no alerts of its own:
// correlations refer to it, and none of them sets generate.
func (r *Rule) CorrelationOnly() bool { return r.correlationOnly }
