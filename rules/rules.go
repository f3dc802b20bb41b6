// Package rules is picket's built-in pack of Sigma rules, embedded in the program.
// Every rule has cases beside it: events that it matches, and similar events that it
// does not match.
package rules

import "embed"

// FS holds a directory for each platform and in it one for each tactic, with a file for
// each rule.
//
//go:embed windows linux
var FS embed.FS
