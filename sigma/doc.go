// Package sigma runs Sigma rules over events: thousands of rules over hundreds
// of thousands of events a second on one core. It follows version 2.1 of the
// Sigma specification (https://github.com/SigmaHQ/sigma-specification) and uses
// nothing but the standard library and a YAML parser.
//
// There are three steps, each of which can be had without the next:
//
//	pack, err := sigma.Parse("rules.yml", data)            // YAML to rules, correlations and filters
//	set, errs := sigma.Compile(pack, sigma.Options{})      // to a *RuleSet
//	group := set.RuleGroup(sigma.LogSource{Product: "windows", Category: "process_creation"})
//	fired = matcher.Match(group, fields, fired[:0])        // an event to the rules that fire
//
// Rules, rule sets and groups are immutable and safe for concurrent use; a
// [Matcher] belongs to one goroutine. To reload rules, compile a new RuleSet and
// let matchers use its groups from the next event on. Mapping an event to
// Sigma's field names and logsources is the caller's part.
//
// In between, [Lint] says what is doubtful in rules, and a [Pipeline] makes them
// fit the names that one's events have. [Matcher.Profile] says what each costs.
//
// Correlations are over events on which rules fired. Give these to a
// [Correlator], with the fields that [Rule.CorrelationFields] asks for:
//
//	firings = correlator.Observe(sigma.Observation{Rule: rule.ID, ID: id, Time: at, Fields: values}, firings[:0])
//	firings = correlator.Advance(time.Now(), firings)      // every few seconds
//
// # How it is fast
//
// For every rule the compiler picks a witness: a few conditions, all of them
// cheap to look up, of which at least one must hold for the rule to fire. A
// RuleGroup files the witnesses of its rules in one index per field. Match looks
// each value of an event up in the index of its field, which yields the few
// rules that may fire, and evaluates only these, cheap conditions first and
// regular expressions last; a condition that rules share is answered once per
// event. Matching allocates nothing while nothing matches.
//
// # What rules mean
//
// Where the specification leaves something open, this package decides:
//
//   - Case. Strings are compared without case unless cased is given, by
//     Unicode's simple case folding, as strings.EqualFold does: K (U+212A) is k,
//     ſ is s, ς is σ, but ß is not ss and İ is not i. Field names are exact.
//   - Escapes. A backslash escapes *, ? and itself; before anything else, and
//     at the end of a value, it stands for itself. ? is one rune. Both ? and *
//     match newlines.
//   - Missing fields. No condition on a value holds for a field that is missing
//     or null, so its negation does: "selection and not filter" fires when the
//     filter's field is missing, and so does neq. "null" holds for missing and
//     null, the empty string only for a string that is there and empty, and
//     exists asks for presence alone, which null has too.
//   - Arrays. A condition holds for a field with several values if it holds for
//     any of them, so neq and not mean that no member matches. Under all,
//     different values of a list may match different members.
//   - Numbers. A number in a rule equals numbers, and strings that are JSON
//     numbers, of the same value: 1 is "1" and 1.0, but not "01". A string in a
//     rule equals the text of a number. There are no hexadecimal or octal
//     numbers, and yes, on, 12:30 and dates are strings. Comparisons (lt and so
//     on) need a number in the rule, and fail for values that are none. Booleans
//     equal "true" and "false" in any case.
//   - Keywords are searched for anywhere in any value, numbers included, but
//     not in field names. With startswith or endswith they are anchored.
//   - neq negates the whole item: with a list, no value may match; with all, at
//     least one must fail.
//   - Selectors ("1 of x*") that select nothing are errors. "them" and patterns
//     skip searches whose name begins with _, unless the pattern does too.
//   - Regular expressions are those of package regexp, unanchored: without
//     lookaround, \w, \d and \b for ASCII only, $ only at the very end. re comes
//     first and combines with i, m, s, expand, all and neq only.
//   - base64offset and the utf16 family work on bytes. utf16 is little endian
//     with a byte order mark.
//   - windash replaces - and / at the start of a word by any of - / – — ―.
//   - cidr refuses networks with host bits set. An IPv4 address mapped to IPv6
//     counts as IPv4, and the zone of an address is ignored.
//   - expand reads its values from [Options]; a rule with a placeholder that
//     has none is left out. In a regular expression they stand for themselves.
//   - minute to year read ISO 8601 and Unix times, take UTC where there is no
//     zone, convert to UTC, and combine with lt, lte, gt and gte; week is the
//     ISO week.
//
// And of correlations:
//
//   - A window is as long as the timespan, both ends included. What more events
//     can't undo (gt and gte on counts and sums of numbers that are not
//     negative, and temporal conditions without not) fires over any window, as
//     soon as it holds. Other figures are compared once for each of the windows
//     that begin with the first event that is in none before.
//   - An event without a field of group-by is in no group; without one that is
//     counted, or with a text where a number is needed, it does not count.
//     Values are compared exactly. Several fields are counted as one value.
//   - In temporal_ordered, events of one time are in any order, and one event
//     is not two steps. In temporal it may stand for two rules.
//   - not in a temporal condition means that the event is nowhere where it
//     would be within the timespan of all the others and, in temporal_ordered,
//     not between the ones that it is between in the list.
//   - Percentiles and the median interpolate between the two nearest numbers.
//   - A correlation over a correlation takes place when that one is complete,
//     at the time of its last event, whose fields it goes by.
//   - The rules that correlations are over raise no alerts of their own unless
//     one of these has generate.
//   - A filter applies to the rules it names whose logsource is within its own.
package sigma
