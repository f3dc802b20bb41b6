package ruleset_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/detect/detecttest"
	"github.com/picket-edr/picket/internal/ruleset"
)

func TestCases(t *testing.T) {
	event := func(command string) string {
		return fmt.Sprintf("{agent_id: a, event_id: e, event_type: process, severity: info, version: '1', host: {hostname: h, os: Linux}, process: {name: /x, pid: 1, command_line: %s, user: u}}", command)
	}
	dir := writeFiles(t, map[string]string{
		"good.yml": detecttest.RuleMatching(detecttest.RuleIDOne, "one"), "good.test.yml": "fires:\n  a: " + event("one") + "\n  b: " + event("other") + "\nsilent:\n  c: " + event("one") + "\n",
		"none.yaml": detecttest.RuleMatching(detecttest.RuleIDTwo, "two"), "half.yml": detecttest.RuleMatching(detecttest.RuleIDTwo, "half"), "half.test.yml": "fires:\n  a: " + event("half") + "\n",
		"lost.test.yml": "fires: {}\n", "table.yml": "logsources: {}\n", "broken.yml": "title: x\ndetection: {condition: y}\n", "broken.test.yml": "",
	})
	results, err := ruleset.TestRules([]ruleset.Source{{Name: dir}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		text, _, _ := strings.Cut(r.Err, ":")
		got = append(got, fmt.Sprintf("%s|%s|%s", strings.TrimPrefix(r.File, dir+"/"), r.Case, text))
	}
	want := []string{
		"broken.test.yml||" + filepath.Join(dir, "broken.yml"),
		"good.test.yml|fires a|", "good.test.yml|fires b|fired is false", "good.test.yml|silent c|fired is true",
		"half.test.yml||a case that fires and one that is silent are needed",
		"lost.test.yml||there is no rule beside these cases",
		"none.test.yml||the rule has no cases",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := ruleset.TestRules([]ruleset.Source{{Name: filepath.Join(dir, "nothing")}}); err == nil {
		t.Error("a source that is not there is no error")
	}
}
