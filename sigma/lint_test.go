package sigma_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// known are the logsources of the lint cases.
var known = []sigma.KnownSource{
	{LogSource: sigma.LogSource{Product: "windows", Service: "security"}},
	{LogSource: sigma.LogSource{Product: "windows", Category: "process_creation", Service: "sysmon"}, EventIDs: []string{"1"}, Fields: []string{"EventID", "Image", "CommandLine"}},
}

// clean is a rule that no check has anything against.
const clean = `title: A Clean Rule
id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52
related:
    - {id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a53, type: similar}
status: test
description: Nothing to be said against this.
references: [https://example.com/a]
author: A
date: 2024-01-02
modified: 2024-02-03
tags: [attack.execution, attack.t1059.001, cve.2024-3400, tlp.green, d3fend.d3-pa]
logsource:
    product: windows
    category: process_creation
detection:
    selection:
        CommandLine|contains: whoami
    filter:
        Image|endswith: '\cmd.exe'
    condition: selection and not filter
falsepositives: [Unknown]
level: low
`

// Each check finds what it is for, where it stands, and nothing in a clean rule.
func TestLint(t *testing.T) {
	tested := make(map[string]bool)
	for _, test := range []struct{ check, old, new, want string }{
		{"missing_level", "level: low\n", "", "1:1: the rule has no level; medium is taken"},
		{"unknown_status", "status: test", "status: good", `5:1: unknown status "good"`},
		{"timeframe", "    condition:", "    timeframe: 5m\n    condition:", "20:5: timeframe is not part of Sigma 2 and has no effect"},
		{"null_in_list", "contains: whoami", "contains: whoami\n        Image: [null, x]", `18:9: null in a list of values of "Image"`},
		{"single_value_all", "contains: whoami", "contains|all: whoami", "17:9: the modifier all needs more than one value"},
		{"operator_case", "selection and", "selection AND", `20:16: write "AND" in lower case`},
		{"missing_id", "id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52\n", "", "1: the rule has no id"},
		{"missing_status", "status: test\n", "", "1: the rule has no status"},
		{"missing_description", "description: Nothing to be said against this.\n", "", "1: the rule has no description"},
		{"missing_author", "author: A\n", "", "1: the rule has no author"},
		{"missing_date", "date: 2024-01-02\n", "", "1: the rule has no date"},
		{"invalid_id", "id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52", "id: one", `2:1: the id "one" is no UUID`},
		{"id_version", "9a36-4b0c", "9a36-1b0c", "2:1: the id is a UUID of version 1"},
		{"date", "date: 2024-01-02", "date: 2024/01/02", `9:1: date: "2024/01/02" is no date`},
		{"date", "modified: 2024-02-03", "modified: 2024-02-30", `10:1: modified: "2024-02-30" is no date`},
		{"modified", "modified: 2024-02-03", "modified: 2023-02-03", "10:1: modified (2023-02-03) is before date (2024-01-02)"},
		{"title_length", "A Clean Rule", strings.Repeat("ab", 129), "1:1: the title has 258 characters"},
		{"title_style", "A Clean Rule", "Detects A Rule", "1:1: the title begins with what every rule does"},
		{"description_length", "Nothing to be said against this.", "Nothing.", "6:1: the description says little"},
		{"description_link", "Nothing to be", "See https://example.com for what is", "6:1: the description holds a link"},
		{"references", "https://example.com/a", "https://github.com/a/b/blob/master/c", "7:1: https://github.com/a/b/blob/master/c changes with its branch"},
		{"falsepositives", "[Unknown]", "[None]", `21:1: "None" says nothing about false positives`},
		{"duplicate_reference", "[https://example.com/a]", "[https://example.com/a, https://example.com/a]", `7:1: "https://example.com/a" is among the references twice`},
		{"duplicate_falsepositive", "[Unknown]", "[Unknown, Unknown]", `21:1: "Unknown" is among the falsepositives twice`},
		{"duplicate_tag", "[attack.execution", "[attack.execution, attack.execution", `11:1: "attack.execution" is among the tags twice`},
		{"related", "type: similar", "type: simlar", `4:7: unknown type "simlar" of a related rule (did you mean similar?)`},
		{"misspelt_key", "falsepositives:", "falsepositive:", `21:1: unknown key "falsepositive" (did you mean falsepositives?)`},
		{"custom_key", "level: low", "level: low\nteam: blue", `23:1: the specification has no key "team"`},
		{"logsource_key", "    category:", "    definiton: x\n    category:", `14:5: "definiton" is no part of a logsource and has no effect (did you mean definition?)`},
		{"tag_format", "attack.execution", "Attack Execution", `11:1: the tag "Attack Execution" is not as tags are`},
		{"tag_namespace", "attack.execution", "atack.execution", `11:1: unknown namespace "atack" of a tag (did you mean attack?)`},
		{"tag_name", "attack.t1059.001", "attack.t105", `11:1: "attack.t105" is no tag of the namespace attack`},
		{"tag_name", "cve.2024-3400", "cve.2024.3400", `11:1: "cve.2024.3400" is no tag of the namespace cve`},
		{"unused_search", "selection and not filter", "selection", `18:5: no condition names the search "filter"`},
		{"single_of", "and not filter", "and not 1 of filter*", "20:16: 1 of filter* selects one search"},
		{"all_of_them", "selection and not filter", "all of them", "20:16: the condition is all of them"},
		{"selector_without_star", "and not filter", "and not 1 of filter", "20:16: 1 of filter selects one search"},
		{"all_without_part", "contains: whoami", "all: [a, b]", "17:9: no single value of field CommandLine can equal all of these"},
		{"base64offset_whole", "contains: whoami", "base64offset: whoami", "17:9: base64offset of field CommandLine compares with the whole value"},
		{"repeated_modifier", "contains: whoami", "contains|contains: whoami", "17:9: the modifier contains is there twice"},
		{"field_space", "CommandLine|", "Command Line|", `17:9: the field "Command Line" has a space in it`},
		{"duplicate_value", "contains: whoami", "contains: [whoami, WHOAMI]", `17:40: the value "WHOAMI" is there twice`},
		{"shadowed_value", "contains: whoami", "contains: [whoami, who]", `17:32: "whoami" is found by "who" already`},
		{"shadowed_value", "contains: whoami", "contains|all: [whoami, who]", `17:44: "who" is part of "whoami", which must be there too`},
		{"wildcard_modifier", "contains: whoami", "cased: 'a*'", "17:9: the stars of field CommandLine are what startswith says"},
		{"non_ascii", "contains: whoami", "contains: whöami", `17:31: "whöami" holds characters that are not ASCII`},
		{"control_character", "contains: whoami", `contains: "c:\temp"`, `17:31: "c:\temp" holds a control character`},
		{"double_wildcard", "contains: whoami", "contains: 'a**b'", `17:31: "a**b" has two stars in a row`},
		{"redundant_wildcard", "contains: whoami", "contains: '*a'", `17:31: a star at an end of "*a" changes nothing`},
		{"escaped_wildcard", "contains: whoami", `contains: 'a\*b'`, `17:31: in "a\\*b", a backslash makes a wildcard an ordinary character`},
		{"mixed_backslashes", "contains: whoami", `contains: 'c:\a\\b'`, `17:31: "c:\\a\\\\b" writes a backslash in two ways`},
		{"presence_star", "contains: whoami", "contains: '*'", "17:31: a star alone asks whether field CommandLine is there"},
		{"empty_part", "contains: whoami", "contains: ''", "17:31: every value of field CommandLine holds the empty text"},
		{"number_as_text", "|contains: whoami", ": '1'", "17:22: the number 1 is written as a text"},
		{"regex_never", "contains: whoami", "re: 'a^b'", `17:25: the expression "a^b" can't match`},
		{"regex_never", "contains: whoami", "re: '(a|b)$c'", `17:25: the expression "(a|b)$c" can't match`},
		{"regex_always", "contains: whoami", "re: '^.*$'", `17:25: every value matches the expression "^.*$"`},
		{"regex_literal", "contains: whoami", `re: 'a\.b'`, `17:25: the expression "a\\.b" is a plain text`},
		{"regex_star", "contains: whoami", "re: 'a[bc].*'", `17:25: .* at an end of "a[bc].*" changes nothing`},
		{"regex_slow", "contains: whoami", "re: '[a-z]+[0-9]'", `17:25: the expression "[a-z]+[0-9]" must be run on every value`},
		{"unknown_logsource", "process_creation", "proces_creation", "13:5: there are no events of the logsource windows/proces_creation/ (did you mean process_creation?)"},
		{"specific_logsource", "category: process_creation\ndetection:\n    selection:\n", "service: sysmon\ndetection:\n    selection:\n        EventID: 1\n", "17:18: EventID 1 of sysmon is of the category process_creation"},
		{"category_event_id", "contains: whoami", "contains: whoami\n        EventID: 1", "18:9: the category process_creation says which EventID it is"},
		{"unknown_field", "CommandLine|", "ComandLine|", "17:9: events of windows/process_creation/ have no field ComandLine that is known (did you mean CommandLine?)"},
		{"field_case", "CommandLine|", "Commandline|", "17:9: the field Commandline is CommandLine in events"},
		{"no_witness", "selection and not filter", "not filter and not selection", "1: nothing in the rule must be there for it to fire"},
		{"presence_only", "contains: whoami", "exists: true", "1: no text or number must be there for the rule to fire"},
		{"duplicate_id", "level: low\n", "level: low\n---\n" + clean, "25:1: proc_clean_rule.yml:1 has this id too"},
		{"duplicate_title", "level: low\n", "level: low\n---\n" + strings.Replace(clean, "9a36", "9a37", 1), "24:1: proc_clean_rule.yml:1 has this title too"},
		{"duplicate_name", "level: low\n", "level: low\nname: n\n---\n" + clean + "name: n\n", "47:1: proc_clean_rule.yml:1 has this name too"},
		{"correlation_key", "level: low\n", "level: low\n---\n" + correlation + "  odd: 1\n", `30:3: "odd" is no part of a correlation and has no effect`},
		{"group_by", "level: low\n", "level: low\n---\n" + correlation, "25:1: without group-by, the events of all hosts count together"},
	} {
		tested[test.check] = true
		t.Run(test.check, func(t *testing.T) {
			if !strings.Contains(clean, test.old) {
				t.Fatalf("%q is not in the clean rule", test.old)
			}
			pack, err := sigma.Parse("proc_clean_rule.yml", []byte(strings.Replace(clean, test.old, test.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range sigma.Lint(pack, sigma.LintOptions{Only: []string{test.check}, Known: known}) {
				got = append(got, f.String())
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], "proc_clean_rule.yml:"+test.want) || !strings.HasSuffix(got[0], " ["+test.check+"]") {
				t.Errorf("got\n%s\nwant\nproc_clean_rule.yml:%s", strings.Join(got, "\n"), test.want)
			}
			if got := sigma.Lint(pack, sigma.LintOptions{Ignore: []string{test.check}, Known: known}); slices.ContainsFunc(got, func(f sigma.Finding) bool { return f.Check == test.check }) {
				t.Error("found though ignored")
			}
		})
	}
	for _, c := range sigma.LintChecks() {
		if !tested[c.Name] && !strings.HasSuffix(c.Name, "filename") {
			t.Errorf("no case for %s", c.Name)
		}
	}
	pack, _ := sigma.Parse("proc_clean_rule.yml", []byte(clean))
	for _, f := range sigma.Lint(pack, sigma.LintOptions{Known: known}) {
		t.Errorf("of the clean rule: %s", f)
	}
}

const correlation = `title: C
correlation:
  type: event_count
  rules: [3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52]
  timespan: 5m
  condition: {gte: 10}
`

func TestLintFilenames(t *testing.T) {
	var pack sigma.Pack
	for _, name := range []string{"a/Good.yml", "b/Good.yml"} {
		p, err := sigma.Parse(name, []byte(clean))
		if err != nil {
			t.Fatal(err)
		}
		pack.Add(p)
	}
	var got []string
	for _, f := range sigma.Lint(pack, sigma.LintOptions{Only: []string{"filename", "duplicate_filename"}}) {
		got = append(got, f.Check+" "+f.Meta.File)
	}
	if want := []string{"filename a/Good.yml", "duplicate_filename b/Good.yml", "filename b/Good.yml"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// SigmaHQ's rules are the measure: hardly anything is to be said against them.
func TestLintSigmaHQ(t *testing.T) {
	pack := sigmaHQRules(t)
	start := time.Now()
	counts := make(map[sigma.Severity]int)
	for _, f := range sigma.Lint(pack, sigma.LintOptions{}) {
		counts[f.Severity]++
		if f.Severity > sigma.LintInfo {
			t.Log(f)
		}
	}
	t.Logf("%v in %v", counts, time.Since(start))
	if counts[sigma.LintError] > 0 || counts[sigma.LintWarning] > 10 {
		t.Errorf("%d errors and %d warnings", counts[sigma.LintError], counts[sigma.LintWarning])
	}
}

// What is misspelt is guessed.
func TestHints(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"|endswith", "|endwith", `19:9: unknown modifier "endwith" (did you mean endswith?)`},
		{"|endswith", "|frobnicate", `19:9: unknown modifier "frobnicate"`},
		{"not filter", "not fliter", `20:16: the condition names "fliter", which is not there (did you mean filter?)`},
		{"not filter", "not 1 of filters_*", `20:16: no search is named like "filters_*" (did you mean filter?)`},
		{"detection:", "detecton:", "1:1: the rule has no detection (write detection for detecton)"},
		{"logsource:", "logsources:", "1:1: the rule has no logsource (write logsource for logsources)"},
	} {
		_, err := sigma.Parse("x.yml", []byte(strings.Replace(clean, test.old, test.new, 1)))
		if err == nil || err.Error() != "x.yml:"+test.want {
			t.Errorf("got %v, want x.yml:%s", err, test.want)
		}
	}
	_, err := sigma.Parse("x.yml", []byte(strings.Replace(correlation, "event_count", "event_cuont", 1)))
	if want := `x.yml:3:9: unknown type of correlation "event_cuont" (did you mean event_count?)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// docs/sigma.md lists the checks, each with its severity and what it finds.
func TestLintDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "sigma.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range sigma.LintChecks() {
		line := fmt.Sprintf("| `%s` | %s | %s |", c.Name, c.Severity, c.About)
		if !strings.Contains(string(page), line) {
			t.Errorf("docs/sigma.md lacks\n%s", line)
		}
	}
}
