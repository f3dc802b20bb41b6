package pipeline_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
	"github.com/picket-edr/picket/sigma/pipeline"
)

// A pipelineCase is a transformation, what it is applied to, and the result:
// as describe writes it, or an error.
type pipelineCase struct {
	Name, Pipeline, Rule, Want, Error string
}

func pipelineCases(t testing.TB) []pipelineCase {
	data, err := os.ReadFile(filepath.Join("testdata", "transformations.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []pipelineCase
	if err := yaml.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestPipelines(t *testing.T) {
	for _, c := range pipelineCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			got, err := pipelined(c)
			switch {
			case c.Error != "":
				if err == nil || !strings.Contains(err.Error(), c.Error) {
					t.Errorf("got %q and error %v, want %q", got, err, c.Error)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.TrimSpace(c.Want), strings.TrimSpace(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func pipelined(c pipelineCase) (string, error) {
	p, err := pipeline.Parse("p.yml", []byte(c.Pipeline))
	if err != nil {
		return "", err
	}
	parsed, err := sigma.Parse("r.yml", []byte(caseRule(c.Rule)))
	if err != nil {
		return "", err
	}
	before := describe(parsed)
	out, errs := p.Apply(parsed)
	if after := describe(parsed); after != before {
		return "", fmt.Errorf("the rule given was changed:\n%s\nto\n%s", before, after)
	}
	if len(errs) > 0 {
		return "", errs[0]
	}
	if _, errs := sigma.Compile(out, sigma.Options{}); len(errs) > 0 {
		return "", errs[0]
	}
	return describe(out), nil
}

// caseRule completes a rule that says only what matters.
func caseRule(rule string) string {
	if strings.Contains(rule, "title:") {
		return rule
	}
	if !strings.Contains(rule, "logsource:") {
		rule = "logsource: {product: windows, category: process_creation}\n" + rule
	}
	if !strings.Contains(rule, "detection:") {
		var b strings.Builder
		for line := range strings.Lines(rule) {
			if strings.HasPrefix(line, "logsource:") {
				b.WriteString(line + "detection:\n  condition: sel\n")
				continue
			}
			if !strings.HasPrefix(line, "fields:") {
				line = "  " + line
			}
			b.WriteString(line)
		}
		rule = b.String()
	}
	return "title: t\nlevel: low\n" + rule
}

const correlation = `title: C
correlation:
  type: event_count
  rules: [3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52]
  timespan: 5m
  condition: {gte: 10}
`

const renaming = `
name: Renamed fields
priority: 20
transformations:
  - id: names
    type: field_name_mapping
    mapping:
      Image: process.path
      CommandLine: [process.cmd, process.args]
      ParentImage: process.parent.path
    rule_conditions:
      - {type: logsource, product: windows}
`

// A rule for Sysmon's names matches events with other names.
func TestPipelineEndToEnd(t *testing.T) {
	parsed, err := sigma.Parse("whoami.yml", []byte(whoami))
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.Parse("p.yml", []byte(renaming))
	if err != nil {
		t.Fatal(err)
	}
	event, err := sigmatest.Flatten([]byte(`{"process.path":"C:\\Windows\\whoami.exe","process.parent.path":"C:\\EXCEL.EXE"}`))
	if err != nil {
		t.Fatal(err)
	}
	matches := func(parsed ast.Collection) bool {
		rs, errs := sigma.Compile(parsed, sigma.Options{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		return len(sigma.NewMatcher().Match(rs.Group(parsed.Rules[0].LogSource), event, nil)) == 1
	}
	mapped, errs := pipeline.Join(p).Apply(parsed)
	if len(errs) > 0 || !matches(mapped) {
		t.Errorf("the rule does not fire, %v", errs)
	}
	if matches(parsed) {
		t.Error("the rule given was changed")
	}
}

// Pipelines go in order of their priorities, whatever their order.
func TestJoinPipelines(t *testing.T) {
	parse := func(priority int, from, to string) *pipeline.Pipeline {
		p, err := pipeline.Parse("p.yml", fmt.Appendf(nil, "priority: %d\ntransformations: [{type: field_name_mapping, mapping: {%s: %s}}]\n", priority, from, to))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	parsed, err := sigma.Parse("r.yml", []byte(caseRule("sel: {A: x}\n")))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := pipeline.Join(parse(20, "B", "C"), parse(10, "A", "B")).Apply(parsed)
	if got := describe(out); !strings.Contains(got, "C: x") {
		t.Errorf("got %s", got)
	}
	same, errs := pipeline.Join().Apply(parsed)
	if describe(same) != describe(parsed) || errs != nil {
		t.Error("no pipelines change something")
	}
}

// SigmaHQ's rules pass through a pipeline that maps every field.
func TestPipelineSigmaHQ(t *testing.T) {
	p, err := pipeline.Parse("p.yml", []byte("transformations: [{type: field_name_prefix, prefix: x.}, {type: case, method: upper}]"))
	if err != nil {
		t.Fatal(err)
	}
	parsed := sigmatest.SigmaHQRules(t)
	out, errs := p.Apply(parsed)
	rs, bad := sigma.Compile(out, sigma.Options{})
	if len(errs) > 0 || len(bad) != 2 || rs.Len() != 3752 {
		t.Errorf("%d rules, errors %v %v", rs.Len(), errs, bad)
	}
}

func FuzzParsePipeline(f *testing.F) {
	f.Add([]byte(renaming))
	for _, c := range pipelineCases(f) {
		f.Add([]byte(c.Pipeline))
	}
	parsed, err := sigma.Parse("r.yml", []byte(whoami+"---\n"+correlation))
	if err != nil {
		f.Fatal(err)
	}
	before := describe(parsed)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := pipeline.Parse("p.yml", data)
		if (p == nil) != (err != nil) {
			t.Fatalf("%v, %v", p, err)
		}
		if p == nil {
			return
		}
		out, _ := p.Apply(parsed)
		sigma.Compile(out, sigma.Options{})
		if describe(parsed) != before {
			t.Error("the rules given were changed")
		}
	})
}
