package ast

import (
	"fmt"
	"time"
)

// A Correlation is a parsed correlation rule: it matches when the matches of
// other rules satisfy a condition within a span of time.
//
// See the Sigma Correlation Rules Specification. Level is NoLevel if the file
// has none.
type Correlation struct {
	Meta
	Type CorrelationType

	// Rules are the IDs or names of the rules and correlations that it refers
	// to.
	Rules []string
	// GroupBy are fields or aliases. Matches are correlated with each other if
	// they have the same values of these.
	GroupBy []string
	// Aliases give the field that an alias stands for, by alias and rule.
	Aliases map[string]map[string]string
	// Timespan is the length of a window: how far apart the first and the last
	// event may be.
	Timespan time.Duration
	// Generate lets the rules that it refers to raise alerts of their own.
	Generate bool

	// ValueFields are the fields whose values are counted or aggregated.
	ValueFields []string
	Percentile  float64      // from 0 to 100, of ValuePercentile
	Comparisons []Comparison // all must hold
	// Condition is an expression over Rules, or nil. Only the temporal types
	// have one.
	Condition *Condition
	// ConditionPosition is the position of the condition, or of the block if
	// there is none.
	ConditionPosition Position
}

// A CorrelationType is the kind of condition that a correlation has.
type CorrelationType uint8

// The types of correlations. EventCount and ValueCount compare the number of
// events and of distinct values. Temporal and TemporalOrdered need a match of
// each rule, in any order and in that of the list. The others compare an
// aggregate of a field's numbers.
const (
	EventCount CorrelationType = iota + 1
	ValueCount
	Temporal
	TemporalOrdered
	ValueSum
	ValueAvg
	ValuePercentile
	ValueMedian
)

var correlationTypes = [...]string{"", "event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg", "value_percentile", "value_median"}

// CorrelationTypeNames returns the names of the types as rules write them, in
// the order of their values from EventCount on.
func CorrelationTypeNames() []string { return append([]string(nil), correlationTypes[1:]...) }

// String returns the type as rules write it.
func (t CorrelationType) String() string {
	if int(t) < len(correlationTypes) {
		return correlationTypes[t]
	}
	return fmt.Sprintf("CorrelationType(%d)", uint8(t))
}

// A Comparison is one comparison of a correlation's condition with a number.
type Comparison struct {
	Op    string // lt, lte, gt, gte, eq or neq
	Value float64
}

// Holds reports whether v compares so.
func (c Comparison) Holds(v float64) bool {
	switch c.Op {
	case "lt":
		return v < c.Value
	case "lte":
		return v <= c.Value
	case "gt":
		return v > c.Value
	case "gte":
		return v >= c.Value
	case "eq":
		return v == c.Value
	}
	return v != c.Value
}
