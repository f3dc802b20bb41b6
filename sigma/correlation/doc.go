// rules: so many of them, several kinds of them, or an aggregate of their
// values, of one group within a span of time.
//
// Give a [Correlator] an [Observation] for each match of a rule, with the fields
// that the rule's CorrelationFields names:
//
//	correlator := correlation.New(set.Correlations(), correlation.Options{})
//	matches = correlator.Observe(correlation.Observation{Rule: rule.ID, Event: id, Time: at, Fields: values}, matches[:0])
//	matches = correlator.Advance(time.Now(), matches)      // every few seconds
//
// # What correlations mean
//
// Where the specification leaves something open, this package decides:
//
//   - A window is as long as the timespan, both ends included. Monotonic
//     conditions (gt and gte on counts and on sums of non-negative numbers,
//     temporal conditions without not) match as soon as any sliding window
//     satisfies them. All other aggregates are evaluated once per tumbling
//     window; a window opens with the first event not covered by the previous
//     one. Empty windows are not evaluated.
//   - An event without a field of group-by belongs to no group. An event without
//     the field that is counted, or with a string where a number is required, does
//     not count. Values are compared exactly. Several fields are counted as one
//     value.
//   - In temporal_ordered, events of the same time may be in any order, and one
//     event cannot be two steps. In temporal, one event may match two rules.
//   - not requires the event to be absent from every position that would put it
//     within the timespan of all matched events; in temporal_ordered, only from
//     the gap between its neighbours in the list.
//   - Percentiles and the median interpolate between the two nearest numbers.
//   - A match of a correlation, as an event of another correlation, has the time
//     and the fields of the event that completed it.
//   - The rules that correlations refer to raise no alerts of their own, unless
//     one of these correlations sets generate.
package correlation
