// Package rules is picket's own pack of Sigma rules, part of the program.
// Every rule has cases beside it: events on which it fires, and events that
// are alike and on which it does not (see cases_test.go).
package rules

import "embed"

// FS holds the rules, a folder a platform, a file a rule.
//
//go:embed windows linux
var FS embed.FS
