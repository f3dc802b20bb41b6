// Package detecttest has rules and events for the tests of detection.
package detecttest

import (
	"fmt"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/sigma"
)

// Engine returns an engine with the rules of a YAML text.
func Engine(t testing.TB, rulesYAML string) *detect.Engine {
	t.Helper()
	parsed, err := sigma.Parse("test.yml", []byte(rulesYAML))
	if err != nil {
		t.Fatal(err)
	}
	set, errs := sigma.Compile(parsed, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return detect.NewEngine(set, nil)
}

// RuleMatching returns a rule that matches a word in the command line.
func RuleMatching(id, commandLineWord string) string {
	return fmt.Sprintf("title: %s\nid: %s\nlogsource: {product: linux, category: process_creation}\n"+
		"detection: {a: {CommandLine|contains: %s}, condition: a}\nlevel: high\ntags: [attack.t1059]\n", commandLineWord, id, commandLineWord)
}

// Ids for rules.
const (
	RuleIDOne = "00000000-0000-4000-8000-000000000001"
	RuleIDTwo = "00000000-0000-4000-8000-000000000002"
)

// ProcessEvent returns an event of a process start.
func ProcessEvent(id, commandLine string) picket.Event {
	return picket.Event{ID: id, AgentID: "agent", Host: "host", Raw: fmt.Appendf(nil,
		`{"agent_id":"agent","event_id":%q,"event_type":"process","timestamp":1764000000,"severity":"info","version":"1.0",`+
			`"host":{"hostname":"host","os":"Linux"},"process":{"name":"/bin/sh","pid":1,"command_line":%q,"user":"u"}}`, id, commandLine)}
}
