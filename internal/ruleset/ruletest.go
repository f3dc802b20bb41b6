package ruleset

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
	"github.com/picket-edr/picket/sigma/lint"
	"github.com/picket-edr/picket/sigma/pipeline"
)

// testFileSuffix ends the names of test files: the tests of NAME.yml are in
// NAME.test.yml beside it.
const testFileSuffix = ".test.yml"

// A testFile has test cases of a rule: events that match, and similar events that do
// not. Events may have any format. A case of a correlation is a list of events.
type testFile struct {
	Fires  map[string]testEvents `yaml:"fires"`
	Silent map[string]testEvents `yaml:"silent"`
}

// testEvents are one event or a list of events.
type testEvents []map[string]any

// UnmarshalYAML implements yaml.Unmarshaler.
func (e *testEvents) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.SequenceNode {
		return node.Decode((*[]map[string]any)(e))
	}
	*e = make(testEvents, 1)
	return node.Decode(&(*e)[0])
}

// A TestResult is the outcome of one case.
type TestResult struct {
	File string `json:"file"`
	Case string `json:"case"`            // "": none of the file could be run
	Err  string `json:"error,omitempty"` // "": as expected
}

// TestRules runs the cases that stand beside the rules of the sources. A rule
// without cases, or without one of each kind, is a failure too.
func TestRules(sources []Source) ([]TestResult, error) {
	all, err := readFiles(sources)
	if err != nil {
		return nil, err
	}
	pipe, err := parsePipelines(all)
	if err != nil {
		return nil, err
	}
	byName, rules := make(map[string][]byte), make(map[string]bool)
	for _, f := range all {
		byName[f.Name] = f.Data
		rules[testFileOf(f.Name)] = true
	}
	var results []TestResult
	for _, f := range all {
		switch {
		case strings.HasSuffix(f.Name, testFileSuffix):
			if !rules[f.Name] {
				results = append(results, TestResult{f.Name, "", "there is no rule beside these cases"})
			}
		case !f.Pipeline && !isNotARule(f.Data):
			name := testFileOf(f.Name)
			results = append(results, testRule(f, name, byName[name], pipe)...)
		}
	}
	for _, p := range emptySourceProblems(sources, all) {
		results = append(results, TestResult{p.File, "", p.Reason})
	}
	return results, nil
}

// testFileOf returns the name of the test file of a rule file.
func testFileOf(name string) string { return strings.TrimSuffix(name, path.Ext(name)) + testFileSuffix }

func testRule(f ruleFile, testFileName string, testData []byte, pipe *pipeline.Pipeline) []TestResult {
	fail := func(err error) []TestResult { return []TestResult{{testFileName, "", err.Error()}} }
	if testData == nil {
		return fail(errors.New("the rule has no cases: this file is not there"))
	}
	pack, err := sigma.Parse(f.Name, f.Data)
	if err != nil {
		return fail(err)
	}
	pack, failed := pipe.Apply(pack)
	if len(failed) > 0 {
		return fail(failed[0])
	}
	set, errs := sigma.Compile(pack, sigma.Options{})
	if len(errs) > 0 {
		return fail(errs[0])
	}
	cases, err := parseTestFile(testData)
	if err != nil {
		return fail(err)
	}
	if len(cases.Fires) == 0 || len(cases.Silent) == 0 {
		return fail(errors.New("a case that fires and one that is silent are needed"))
	}
	d := detect.NewEngine(set, nil).NewDetector()
	var results []TestResult
	run := func(kind string, cases map[string]testEvents, want bool) {
		names := make([]string, 0, len(cases))
		for n := range cases {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			r := TestResult{File: testFileName, Case: kind + " " + n}
			if fired, err := anyRuleFires(d, set, cases[n]); err != nil {
				r.Err = err.Error()
			} else if fired != want {
				r.Err = fmt.Sprintf("fired is %t", fired)
				if want {
					r.Err += logSourceMismatch(set, cases[n])
				}
			}
			results = append(results, r)
		}
	}
	run("fires", cases.Fires, true)
	run("silent", cases.Silent, false)
	return results
}

// logSourceMismatch says that the events belong to other logsources than the rules are
// for, "" if some event is of the logsource of a rule.
func logSourceMismatch(rules *sigma.RuleSet, events testEvents) string {
	reader := normalize.NewReader()
	var have, want []string
	for _, ev := range events {
		raw, err := json.Marshal(ev)
		if err != nil {
			return ""
		}
		d, err := reader.Read(raw)
		if err != nil {
			return ""
		}
		if rules.Group(d.Class.Sources...) != nil {
			return ""
		}
		for _, s := range d.Class.Sources {
			have = append(have, s.String())
		}
	}
	for _, r := range rules.Rules() {
		want = append(want, r.LogSource.String())
	}
	return fmt.Sprintf(": the event is of the logsource %s, the rule is for %s", joinNames(have), joinNames(want))
}

// joinNames returns each name once, "none" for no names.
func joinNames(names []string) string {
	slices.Sort(names)
	return cmp.Or(strings.Join(slices.Compact(names), " and "), "none")
}

func parseTestFile(data []byte) (cases testFile, err error) {
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return cases, err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if key != "fires" && key != "silent" {
			err := fmt.Errorf("unknown key %q", key)
			if near := lint.NearestName(key, []string{"fires", "silent"}); near != "" {
				err = fmt.Errorf("%w (did you mean %s?)", err, near)
			}
			return cases, err
		}
	}
	return cases, yaml.Unmarshal(data, &cases)
}

// anyRuleFires reports whether any rule or correlation matches the events, except
// rules that only serve correlations.
func anyRuleFires(d *detect.Detector, rules *sigma.RuleSet, events testEvents) (bool, error) {
	batch := make([]picket.Event, len(events))
	for i, ev := range events {
		raw, err := json.Marshal(ev)
		if err != nil {
			return false, err
		}
		batch[i] = picket.Event{ID: fmt.Sprint("case ", i), Raw: raw}
	}
	matches, err := d.Detect(batch)
	if err != nil {
		return false, err
	}
	c := correlation.New(rules.Correlations(), correlation.Options{})
	var fired []correlation.Match
	for i := range matches {
		m := &matches[i]
		if !m.CorrelationOnly {
			return true, nil
		}
		fired = c.Observe(correlation.Observation{Rule: m.RuleID, Event: m.EventID, Time: m.Time, Fields: m.Observed}, fired)
	}
	return len(c.Flush(fired)) > 0, nil
}
