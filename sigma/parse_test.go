package sigma_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
)

const head = "title: t\nlevel: high\nlogsource: {product: p}\n"

func TestParse(t *testing.T) {
	rules, err := sigma.Parse("a.yml", []byte(`
title: All of it
id: 6f3e2987-db24-4c78-a860-b4f4095a7095
name: all_of_it
status: test
description: |
  Two
  lines
references: [https://example.com]
author: A, B
date: 2024-01-02
modified: 2024-03-04
license: MIT
tags: [attack.execution, attack.t1059]
logsource: {product: windows, category: process_creation, service: sysmon, definition: x}
detection: {s: {F: a}, condition: s}
fields: [F]
falsepositives: Unknown
level: Critical
`))
	if err != nil || len(rules.Rules) != 1 {
		t.Fatal(rules, err)
	}
	got := *rules.Rules[0]
	want := ast.Rule{Meta: ast.Meta{
		ID: "6f3e2987-db24-4c78-a860-b4f4095a7095", Name: "all_of_it", Title: "All of it", Description: "Two\nlines\n",
		Status: "test", Author: "A, B", Date: "2024-01-02", Modified: "2024-03-04", License: "MIT",
		References: []string{"https://example.com"}, Tags: []string{"attack.execution", "attack.t1059"},
		FalsePositives: []string{"Unknown"}, Fields: []string{"F"}, Level: sigma.Critical, File: "a.yml", Line: 2,
	}, LogSource: sigma.LogSource{Product: "windows", Category: "process_creation", Service: "sysmon"}}
	if len(got.Keys) != 16 || len(got.LogSourceKeys) != 4 || len(got.Detections.Searches) != 1 || len(got.Detections.Conditions) != 1 {
		t.Errorf("%d keys, %d of the logsource, detections %v", len(got.Keys), len(got.LogSourceKeys), got.Detections)
	}
	got.Keys, got.LogSourceKeys, got.Detections = nil, nil, ast.Detections{}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Good rules of a file are returned along with the errors about the others.
func TestParseSeveral(t *testing.T) {
	good := head + "detection: {s: {F: a}, condition: s}\n"
	file := good + "---\ntitle: bad\n---\n" + good + "---\n\n---\ncorrelation: {type: event_count}\ntitle: c\n---\nfilter: {rules: any}\ntitle: f\n"
	rules, err := sigma.Parse("m.yml", []byte(file))
	if len(rules.Rules) != 2 || rules.Rules[1].Line != 8 {
		t.Errorf("got %d rules, want 2, the second at line 8", len(rules.Rules))
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got error %v, want several joined", err)
	}
	var kinds []string
	for _, e := range joined.Unwrap() {
		pe, ok := errors.AsType[*ast.ParseError](e)
		if !ok {
			t.Fatalf("got %T, want a ParseError", e)
		}
		kinds = append(kinds, pe.Kind.String())
	}
	if want := []string{"rule", "correlation", "filter"}; !slices.Equal(kinds, want) {
		t.Errorf("errors about %v, want %v", kinds, want)
	}
}

func TestParseErrors(t *testing.T) {
	det := "detection: {s: {F: a}, condition: s}\n"
	for _, test := range []struct{ name, file, want string }{
		{"empty", "", "x.yml: the file holds no rule"},
		{"no mapping", "- a\n", "x.yml:1:1: a rule must be a mapping"},
		{"no title", "logsource: {product: p}\n" + det, "x.yml:1:1: the rule has no title"},
		{"no logsource", "title: t\n" + det, "x.yml:1:1: the rule has no logsource"},
		{"empty logsource", "title: t\nlogsource: {definition: x}\n" + det, "x.yml:2:12: the logsource is empty (give a product, a category or a service)"},
		{"no detection", head, "x.yml:1:1: the rule has no detection"},
		{"level", "title: t\nlevel: grave\nlogsource: {product: p}\n" + det, `x.yml:2:8: unknown level "grave" (want informational, low, medium, high or critical)`},
		{"duplicate", head + "title: u\n" + det, `x.yml:4:1: duplicate key "title" (put the values into one list)`},
		{"merge", head + "detection:\n  s: {<<: {F: a}}\n  condition: s\n", "x.yml:5:7: merge keys are not supported (write the entries out)"},
		{"global", "action: global\ntitle: t\n", "x.yml:1:1: action documents are not part of Sigma 2 (write every rule out in full)"},
		{"YAML", "title: t\n  x: [\n", "x.yml:2: invalid YAML: mapping values are not allowed in this context"},
		{"escape", "title: t\nlogsource: {product: \"a\\w\"}\n", "x.yml:2: invalid YAML: found unknown escape character (in double quotes, a backslash begins an escape of YAML; write single quotes)"},
		{"condition", head + "detection:\n  s: {F: a}\n  condition: s and (s or\n", "x.yml:6:14: the condition ends too early"},
		{"two operands", head + "detection:\n  s: {F: a}\n  condition: s s\n", `x.yml:6:14: unexpected "s" in the condition`},
		{"deep", head + "detection:\n  s: {F: a}\n  condition: " + strings.Repeat("(", 100) + "s\n", "x.yml:6:14: the condition is nested too deeply"},
		{"recursive", head + "detection:\n  s: &a [*a]\n  condition: s\n", "x.yml:5:6: a search must be a mapping, a keyword or a list of these"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules, err := sigma.Parse("x.yml", []byte(test.file))
			if err == nil || err.Error() != test.want || len(rules.Rules) > 0 {
				t.Errorf("got %d rules and error\n%v\nwant\n%s", len(rules.Rules), err, test.want)
			}
		})
	}
}

func TestParseWarnings(t *testing.T) {
	rules, err := sigma.Parse("x.yml", []byte(`title: t
status: odd
logsource: {product: p}
detection:
  a: {F|contains|all: x}
  b: {G: [null, x]}
  timeframe: 5m
  condition: a AND Not b
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"line 1: the rule has no level; medium is taken",
		`line 2: unknown status "odd"`,
		"line 5: the modifier all needs more than one value",
		`line 6: null in a list of values of "G"`,
		"line 7: timeframe is not part of Sigma 2 and has no effect",
		`line 8: write "AND" in lower case`,
		`line 8: write "Not" in lower case`,
	}
	var got []string
	for _, w := range rules.Rules[0].Warnings {
		got = append(got, w.String())
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("warnings (-want +got):\n%s", d)
	}
	if rules.Rules[0].Level != sigma.Medium {
		t.Errorf("level %v, want medium", rules.Rules[0].Level)
	}
}

// A rule that can't be compiled is reported with its place; the others run.
func TestCompileErrors(t *testing.T) {
	file := head + "detection:\n  s:\n    F: a\n    G|cidr: x\n  condition: s\n---\n" + head + "detection: {s: {F: a}, condition: s}\n"
	rules, err := sigma.Parse("x.yml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	rs, errs := sigma.Compile(rules, sigma.Options{})
	if rs.Len() != 1 || len(errs) != 1 || errs[0].Meta != &rules.Rules[0].Meta {
		t.Fatalf("%d rules, errors %v", rs.Len(), errs)
	}
	if got, want := errs[0].Error(), `x.yml:7:5: rule "t": field G: modifier cidr: "x" is not a network in CIDR notation`; got != want {
		t.Errorf("got error\n%s\nwant\n%s", got, want)
	}
}

func TestLevel(t *testing.T) {
	for l := sigma.Informational; l <= sigma.Critical; l++ {
		if got, err := sigma.ParseLevel(strings.ToUpper(l.String())); got != l || err != nil {
			t.Errorf("ParseLevel(%v) = %v, %v", l, got, err)
		}
	}
	for _, s := range []string{"", "severe"} {
		if _, err := sigma.ParseLevel(s); err == nil {
			t.Errorf("ParseLevel(%q) succeeds", s)
		}
	}
	if s := sigma.Level(77).String(); s != "Level(77)" {
		t.Errorf("got %q", s)
	}
}

// Errors suggest what a misspelt word was meant to be.
func TestHints(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"|endswith", "|endwith", `19:9: unknown modifier "endwith" (did you mean endswith?)`},
		{"|endswith", "|frobnicate", `19:9: unknown modifier "frobnicate"`},
		{"not filter", "not fliter", `20:16: the condition names "fliter", which does not exist (did you mean filter?)`},
		{"not filter", "not 1 of filters_*", `20:16: no search is named like "filters_*" (did you mean filter?)`},
		{"detection:", "detecton:", "1:1: the rule has no detection (write detection for detecton)"},
		{"logsource:", "logsources:", "1:1: the rule has no logsource (write logsource for logsources)"},
	} {
		_, err := sigma.Parse("x.yml", []byte(strings.Replace(sigmatest.LintCleanRule, test.old, test.new, 1)))
		if err == nil || err.Error() != "x.yml:"+test.want {
			t.Errorf("got %v, want x.yml:%s", err, test.want)
		}
	}
	_, err := sigma.Parse("x.yml", []byte(strings.Replace(hintCorrelation, "event_count", "event_cuont", 1)))
	if want := `x.yml:3:9: unknown type of correlation "event_cuont" (did you mean event_count?)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

const hintCorrelation = `title: C
correlation:
  type: event_count
  rules: [3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52]
  timespan: 5m
  condition: {gte: 10}
`
