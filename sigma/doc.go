// Package sigma runs Sigma rules over events: thousands of rules over hundreds
// of thousands of events per second on one core. It follows version 2.1 of the
// Sigma specification (https://github.com/SigmaHQ/sigma-specification) and uses
// only the standard library and a YAML parser.
//
// There are three steps:
//
//	parsed, err := sigma.Parse("rules.yml", data)          // YAML to an ast.Collection
//	set, errs := sigma.Compile(parsed, sigma.Options{})    // to a *RuleSet
//	group := set.Group(sigma.LogSource{Product: "windows", Category: "process_creation"})
//	matched = matcher.Match(group, fields, matched[:0])    // an event to the rules that match
//
// Rules, rule sets and groups are immutable and safe for concurrent use; a
// [Matcher] belongs to one goroutine. To reload rules, compile a new RuleSet and
// use its groups from the next event on. Mapping an event to Sigma's field names
// and logsources is up to the caller.
//
// Between parsing and compiling, package lint reports likely mistakes and package
// pipeline maps rules to your field names. [Matcher.Profile] measures what each
// rule costs. Package correlation correlates the matches of rules over time.
//
// # How it is fast
//
// For every rule the compiler chooses a prefilter: a few conditions, all cheap to
// look up, of which at least one must hold for the rule to match. A [RuleGroup]
// has one index per field of the literals in its rules' prefilters. Match looks
// up each value of an event in the index of its field, which yields the few rules
// that may match, and evaluates only these: cheap conditions first and regular
// expressions last. A condition that rules share is evaluated once per event.
// Matching allocates nothing while nothing matches.
//
// # What rules mean
//
// Where the specification leaves something open, this package decides:
//
//   - Case. Strings are compared without case unless cased is given, by
//     Unicode's simple case folding, as strings.EqualFold does: K (U+212A) is k,
//     ſ is s, ς is σ, but ß is not ss and İ is not i. Field names are exact.
//   - Escapes. A backslash escapes *, ? and itself; before anything else, and at
//     the end of a value, it stands for itself. ? matches one rune. Both ? and *
//     match newlines.
//   - Missing fields. No condition on a value holds for a field that is missing
//     or null, so its negation does: "selection and not filter" matches if the
//     filter's field is missing, and so does neq. "null" holds for missing and
//     null, the empty string only for a string that is present and empty, and
//     exists tests presence alone, which null has too.
//   - Arrays. A condition holds for a field with several values if it holds for
//     any of them, so neq and not mean that no member matches. Under all,
//     different values of a list may match different members.
//   - Numbers. A number in a rule equals numbers, and strings that are JSON
//     numbers, of the same value: 1 is "1" and 1.0, but not "01". A string in a
//     rule equals the text of a number. There are no hexadecimal or octal
//     numbers, and yes, on, 12:30 and dates are strings. Comparisons (lt and so
//     on) require a number in the rule, and do not hold for other values.
//     Booleans equal "true" and "false" in any case.
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
//   - cidr rejects networks with host bits set. An IPv4-mapped IPv6 address
//     counts as IPv4, and the zone of an address is ignored.
//   - expand reads its values from [Options]; a rule with a placeholder that
//     has none is left out. In a regular expression, values match literally apart
//     from their wildcards.
//   - minute to year read ISO 8601 and Unix times, assume UTC if there is no
//     zone, convert to UTC, and combine with lt, lte, gt and gte; week is the
//     ISO week.
//   - A filter applies to the rules it names whose logsource is within its own.
package sigma
