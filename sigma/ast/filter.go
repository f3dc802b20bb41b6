package ast

import (
	"slices"
	"time"
)

// A Filter narrows rules down without changing their files: a rule that it
// applies to matches only if the filter's condition holds too. It never
// applies to correlations.
//
// See the Sigma Filters Specification.
type Filter struct {
	Meta
	LogSource LogSource

	// Rules are the IDs or names of the rules that it applies to; nil means
	// all rules.
	Rules         []string
	RulesPosition Position
	// Expires is when the filter ends to apply, zero for never. It is an addition
	// to the specification, the key expires of the document; compilers do not look
	// at it.
	Expires time.Time

	Detections Detections
}

// AppliesTo reports whether the filter applies to r: it names r, and r's
// logsource is within its own.
func (f *Filter) AppliesTo(r *Rule) bool {
	return f.LogSource.Covers(r.LogSource) && (f.Rules == nil || slices.ContainsFunc(f.Rules, r.MatchesRef))
}
