package sigma

import (
	"fmt"
	"time"
)

// A Correlation is a rule over the events on which other rules fire: so many
// of them, or several kinds of them, of one group within a span of time.
//
// See the Sigma Correlation Rules Specification. Its Level is NoLevel where
// the file names none, until Compile takes the highest of its rules.
type Correlation struct {
	Meta
	Type CorrelationType

	// Rules are the ids or names of the rules and correlations that it is over.
	Rules []string
	// GroupBy are fields, or aliases, by whose values events are kept apart.
	GroupBy []string
	// Aliases give a field for each alias and rule of Rules.
	Aliases map[string]map[string]string
	// Timespan is how far apart the first and the last event may be.
	Timespan time.Duration
	// Generate lets the rules that it is over raise alerts of their own.
	Generate bool

	fields     []string // whose values are counted, summed up and so on
	percentile float64  // from 0 to 100
	bounds     []bound
	condition  *condition // over Rules, or nil
	place      place      // of the condition
}

// A CorrelationType says what a correlation asks of the events of a group.
type CorrelationType uint8

// The types of correlations. The first two count events, and distinct values
// of fields; the next two want each of several rules to fire, in any order and
// in that of the list; the others compare a figure made of a field's numbers.
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

// String returns the type as rules write it.
func (t CorrelationType) String() string {
	if int(t) < len(correlationTypes) {
		return correlationTypes[t]
	}
	return fmt.Sprintf("CorrelationType(%d)", uint8(t))
}

// A bound is one comparison of a correlation's condition.
type bound struct {
	op    string
	limit float64
}

func (b bound) holds(v float64) bool {
	switch b.op {
	case "lt":
		return v < b.limit
	case "lte":
		return v <= b.limit
	case "gt":
		return v > b.limit
	case "gte":
		return v >= b.limit
	case "eq":
		return v == b.limit
	}
	return v != b.limit
}
