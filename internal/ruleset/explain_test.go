package ruleset_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// Each part of a rule is explained as the engine evaluates it.
func TestExplain(t *testing.T) {
	c, err := sigma.Parse("rule.yml", []byte(`
title: Tool
id: 8a1b0000-0000-4000-8000-000000000001
logsource: {product: linux, category: process_creation}
detection:
  tool:
    Image|endswith: [/nc, /ncat]
    CommandLine|contains|all: [' -e ', sh]
  words: [reverse, shell]
  known:
    - User: root
    - ParentImage: null
  condition: (tool or words) and not known
level: high
`))
	testenv.Check(t, err)
	explain := func(command string) ruleset.Explanation {
		ev, err := normalize.NewReader().Read([]byte(`{"agent_id":"h","event_id":"1","event_type":"process","timestamp":1764000000,"severity":"info","version":"1.0",` +
			`"host":{"hostname":"h","os":"Linux"},"process":{"name":"/usr/bin/ncat","pid":1,"command_line":"` + command + `","user":"ann","parent_image":"/bin/bash"}}`))
		testenv.Check(t, err)
		x, err := ruleset.Explain(c.Rules[0], ev)
		testenv.Check(t, err)
		return x
	}
	want := []ruleset.SearchExplained{
		{Name: "tool", Alternatives: [][]ruleset.ItemExplained{{
			{Field: "Image|endswith", Holds: true, EventValues: []string{"/usr/bin/ncat"}, Values: []ruleset.ValueExplained{{"/nc", false}, {"/ncat", true}}},
			{Field: "CommandLine|contains|all", EventValues: []string{"ncat -e /bin/bas"}, Values: []ruleset.ValueExplained{{" -e ", true}, {"sh", false}}},
		}}},
		{Name: "words", Alternatives: [][]ruleset.ItemExplained{{{Field: "keywords", EventValues: []string{}, Values: []ruleset.ValueExplained{{"reverse", false}, {"shell", false}}}}}},
		{Name: "known", Alternatives: [][]ruleset.ItemExplained{
			{{Field: "User", EventValues: []string{"ann"}, Values: []ruleset.ValueExplained{{"root", false}}}},
			{{Field: "ParentImage", EventValues: []string{"/bin/bash"}, Values: []ruleset.ValueExplained{{"null", false}}}},
		}},
	}
	x := explain("ncat -e /bin/bas")
	if diff := cmp.Diff(want, x.Searches); diff != "" || x.Matches || !x.LogSource.Holds || x.Conditions[0].Holds {
		t.Errorf("%+v %s", x, diff)
	}
	if x := explain("ncat -e /bin/bash"); !x.Matches || !x.Conditions[0].Holds || !x.Searches[0].Holds {
		t.Errorf("%+v", x)
	}
	ev, err := normalize.NewReader().Read([]byte(`{"Image":"/nc","EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":"w"}`))
	testenv.Check(t, err)
	x, err = ruleset.Explain(c.Rules[0], ev)
	testenv.Check(t, err)
	if x.LogSource.Holds || strings.Join(x.MissingNames, " ") != "CommandLine User ParentImage" || !strings.Contains(strings.Join(x.LogSource.Event, " "), "windows") {
		t.Errorf("%+v", x)
	}
}
