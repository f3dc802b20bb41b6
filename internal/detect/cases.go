package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
	"github.com/picket-edr/picket/sigma/pipeline"
)

// caseSuffix is the end of the name of a file of cases: the cases of NAME.yml
// are in NAME.test.yml beside it.
const caseSuffix = ".test.yml"

// caseFile is a file of cases: events that fire the rule, and events that are
// like them and do not. An event is written in any shape that picket reads; a
// case of a correlation is a list of events.
type caseFile struct {
	Fires  map[string]events `yaml:"fires"`
	Silent map[string]events `yaml:"silent"`
}

// events are one event, or a list of them.
type events []map[string]any

// UnmarshalYAML implements yaml.Unmarshaler.
func (e *events) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.SequenceNode {
		return node.Decode((*[]map[string]any)(e))
	}
	*e = make(events, 1)
	return node.Decode(&(*e)[0])
}

// A Result is the outcome of one case.
type Result struct {
	File string `json:"file"`
	Case string `json:"case"`
	Err  string `json:"error,omitempty"` // "": as expected
}

// Test runs the cases that stand beside the rules of the sources. A rule
// without cases, or without one of each kind, is a failure too.
func Test(sources []Source) ([]Result, error) {
	all, err := files(sources)
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
		rules[casesOf(f.Name)] = true
	}
	var results []Result
	for _, f := range all {
		switch {
		case strings.HasSuffix(f.Name, caseSuffix):
			if !rules[f.Name] {
				results = append(results, Result{f.Name, "", "there is no rule beside these cases"})
			}
		case !f.Pipeline && !isNotARule(f.Data):
			name := casesOf(f.Name)
			results = append(results, testRule(f, name, byName[name], pipe)...)
		}
	}
	return results, nil
}

// casesOf is the name of the cases of the rule in a file.
func casesOf(name string) string { return strings.TrimSuffix(name, path.Ext(name)) + caseSuffix }

func testRule(f file, name string, data []byte, pipe *pipeline.Pipeline) []Result {
	fail := func(err error) []Result { return []Result{{name, "", err.Error()}} }
	if data == nil {
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
	var cases caseFile
	if err := yaml.Unmarshal(data, &cases); err != nil {
		return fail(err)
	}
	if len(cases.Fires) == 0 || len(cases.Silent) == 0 {
		return fail(errors.New("a case that fires and one that is silent are needed"))
	}
	d := NewEngine(set).Detector()
	var results []Result
	run := func(kind string, cases map[string]events, want bool) {
		names := make([]string, 0, len(cases))
		for n := range cases {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			r := Result{File: name, Case: kind + " " + n}
			if fired, err := fires(d, cases[n]); err != nil {
				r.Err = err.Error()
			} else if fired != want {
				r.Err = fmt.Sprintf("fired is %t", fired)
			}
			results = append(results, r)
		}
	}
	run("fires", cases.Fires, true)
	run("silent", cases.Silent, false)
	return results
}

// fires reports whether any rule or correlation fires on events. Those that
// are there for correlations only don't count.
func fires(d *Detector, events events) (bool, error) {
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
	c := correlation.New(d.engine.Rules().Correlations(), correlation.Options{})
	var fired []correlation.Match
	for i := range matches {
		m := &matches[i]
		if !m.Silent {
			return true, nil
		}
		fired = c.Observe(correlation.Observation{Rule: m.RuleID, Event: m.EventID, Time: m.Time, Fields: m.Observed}, fired)
	}
	return len(c.Flush(fired)) > 0, nil
}
