package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/sigmatest"
	"github.com/picket-edr/picket/sigma/lint"
)

// now is the time of the tests.
var now = time.Date(2024, 5, 7, 0, 0, 0, 0, time.UTC)

// known are the logsources of the tests.
var known = []lint.KnownLogSource{
	{LogSource: ast.LogSource{Product: "windows", Service: "security"}},
	{LogSource: ast.LogSource{Product: "windows", Category: "process_creation", Service: "sysmon"}, EventIDs: []string{"1"}, Fields: []string{"EventID", "Image", "CommandLine"}},
}

// Each check finds what it is for, at the right position, and nothing in a clean
// rule.
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
		{"invalid_id", "id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52", "id: one", `2:1: the id "one" is not a UUID`},
		{"id_version", "9a36-4b0c", "9a36-1b0c", "2:1: the id is a UUID of version 1"},
		{"date", "date: 2024-01-02", "date: 2024/01/02", `9:1: date: "2024/01/02" is not a date`},
		{"date", "modified: 2024-02-03", "modified: 2024-02-30", `10:1: modified: "2024-02-30" is not a date`},
		{"modified", "modified: 2024-02-03", "modified: 2023-02-03", "10:1: modified (2023-02-03) is before date (2024-01-02)"},
		{"expired", "level: low\n", "level: low\n---\n" + filter + "expires: 2024-05-06\n", "28:1: the filter expired at 2024-05-06T00:00:00Z"},
		{"title_length", "A Clean Rule", strings.Repeat("ab", 129), "1:1: the title has 258 characters"},
		{"title_style", "A Clean Rule", "Detects A Rule", "1:1: the title begins with a word that fits every rule"},
		{"description_length", "Nothing to be said against this.", "Nothing.", "6:1: the description is very short"},
		{"description_link", "Nothing to be", "See https://example.com for what is", "6:1: the description contains a link"},
		{"references", "https://example.com/a", "https://github.com/a/b/blob/master/c", "7:1: https://github.com/a/b/blob/master/c changes with its branch"},
		{"falsepositives", "[Unknown]", "[None]", `21:1: "None" says nothing about false positives`},
		{"duplicate_reference", "[https://example.com/a]", "[https://example.com/a, https://example.com/a]", `7:1: "https://example.com/a" is repeated in references`},
		{"duplicate_falsepositive", "[Unknown]", "[Unknown, Unknown]", `21:1: "Unknown" is repeated in falsepositives`},
		{"duplicate_tag", "[attack.execution", "[attack.execution, attack.execution", `11:1: "attack.execution" is repeated in tags`},
		{"related", "type: similar", "type: simlar", `4:7: unknown type "simlar" of a related rule (did you mean similar?)`},
		{"misspelt_key", "falsepositives:", "falsepositive:", `21:1: unknown key "falsepositive" (did you mean falsepositives?)`},
		{"custom_key", "level: low", "level: low\nteam: blue", `23:1: the specification defines no key "team"`},
		{"logsource_key", "    category:", "    definiton: x\n    category:", `14:5: "definiton" is not part of a logsource and has no effect (did you mean definition?)`},
		{"tag_format", "attack.execution", "Attack Execution", `11:1: the tag "Attack Execution" is not namespace.name in lower case`},
		{"tag_namespace", "attack.execution", "atack.execution", `11:1: unknown namespace "atack" of a tag (did you mean attack?)`},
		{"tag_name", "attack.t1059.001", "attack.t105", `11:1: "attack.t105" is not a tag of the namespace attack`},
		{"tag_name", "cve.2024-3400", "cve.2024.3400", `11:1: "cve.2024.3400" is not a tag of the namespace cve`},
		{"unused_search", "selection and not filter", "selection", `18:5: no condition names the search "filter"`},
		{"single_of", "and not filter", "and not 1 of filter*", "20:16: 1 of filter* selects one search"},
		{"all_of_them", "selection and not filter", "all of them", "20:16: the condition is all of them"},
		{"selector_without_star", "and not filter", "and not 1 of filter", "20:16: 1 of filter selects one search"},
		{"all_without_part", "contains: whoami", "all: [a, b]", "17:9: no single value of field CommandLine can equal all of these"},
		{"base64offset_whole", "contains: whoami", "base64offset: whoami", "17:9: base64offset of field CommandLine compares with the whole value"},
		{"repeated_modifier", "contains: whoami", "contains|contains: whoami", "17:9: the modifier contains is repeated"},
		{"field_space", "CommandLine|", "Command Line|", `17:9: the field "Command Line" has a space in it`},
		{"duplicate_value", "contains: whoami", "contains: [whoami, WHOAMI]", `17:40: the value "WHOAMI" is repeated`},
		{"shadowed_value", "contains: whoami", "contains: [whoami, who]", `17:32: "whoami" matches only where "who" does`},
		{"shadowed_value", "contains: whoami", "contains|all: [whoami, who]", `17:44: "who" is part of "whoami", which is required too`},
		{"wildcard_modifier", "contains: whoami", "cased: 'a*'", "17:9: the stars of field CommandLine mean the same as startswith"},
		{"non_ascii", "contains: whoami", "contains: whöami", `17:31: "whöami" contains characters that are not ASCII`},
		{"control_character", "contains: whoami", `contains: "c:\temp"`, `17:31: "c:\temp" contains a control character`},
		{"double_wildcard", "contains: whoami", "contains: 'a**b'", `17:31: "a**b" has two stars in a row`},
		{"redundant_wildcard", "contains: whoami", "contains: '*a'", `17:31: a star at an end of "*a" changes nothing`},
		{"escaped_wildcard", "contains: whoami", `contains: 'a\*b'`, `17:31: in "a\\*b", a backslash makes a wildcard literal`},
		{"mixed_backslashes", "contains: whoami", `contains: 'c:\a\\b'`, `17:31: "c:\\a\\\\b" writes a backslash in two ways`},
		{"presence_star", "contains: whoami", "contains: '*'", "17:31: a star alone means that field CommandLine is present"},
		{"empty_part", "contains: whoami", "contains: ''", "17:31: every value of field CommandLine contains the empty string"},
		{"number_as_text", "|contains: whoami", ": '1'", "17:22: the number 1 is written as a string"},
		{"regex_never", "contains: whoami", "re: 'a^b'", `17:25: the expression "a^b" can't match`},
		{"regex_never", "contains: whoami", "re: '(a|b)$c'", `17:25: the expression "(a|b)$c" can't match`},
		{"regex_always", "contains: whoami", "re: '^.*$'", `17:25: the expression "^.*$" matches every value`},
		{"regex_literal", "contains: whoami", `re: 'a\.b'`, `17:25: the expression "a\\.b" is plain text`},
		{"regex_star", "contains: whoami", "re: 'a[bc].*'", `17:25: .* at an end of "a[bc].*" changes nothing`},
		{"regex_slow", "contains: whoami", "re: '[a-z]+[0-9]'", `17:25: the expression "[a-z]+[0-9]" must be run on every value`},
		{"misspelt_logsource", "process_creation", "proces_creation", "13:5: no known format has events of the logsource windows/proces_creation (did you mean process_creation?)"},
		{"misspelt_logsource", "product: windows", "product: window", "13:5: no known format has events of the logsource window/process_creation (did you mean windows?)"},
		{"unknown_logsource", "product: windows", "product: bitbucket", "13:5: no known format has events of the logsource bitbucket/process_creation"},
		{"specific_logsource", "category: process_creation\ndetection:\n    selection:\n", "service: sysmon\ndetection:\n    selection:\n        EventID: 1\n", "17:18: EventID 1 of sysmon belongs to the category process_creation"},
		{"category_event_id", "contains: whoami", "contains: whoami\n        EventID: 1", "18:9: the category process_creation determines the EventID"},
		{"unknown_field", "CommandLine|", "ComandLine|", "17:9: no known event of windows/process_creation has a field ComandLine (did you mean CommandLine?)"},
		{"field_case", "CommandLine|", "Commandline|", "17:9: the field Commandline is named CommandLine in events"},
		{"no_prefilter", "selection and not filter", "not filter and not selection", "1: the rule has no prefilter: it must be evaluated for every event of windows/process_creation"},
		{"weak_prefilter", "contains: whoami", "exists: true", "1: the rule has a weak prefilter: it must be evaluated for every event with a certain field"},
		{"duplicate_id", "level: low\n", "level: low\n---\n" + sigmatest.LintCleanRule, "25:1: proc_clean_rule.yml:1 has this id too"},
		{"duplicate_title", "level: low\n", "level: low\n---\n" + strings.Replace(sigmatest.LintCleanRule, "9a36", "9a37", 1), "24:1: proc_clean_rule.yml:1 has this title too"},
		{"duplicate_name", "level: low\n", "level: low\nname: n\n---\n" + sigmatest.LintCleanRule + "name: n\n", "47:1: proc_clean_rule.yml:1 has this name too"},
		{"correlation_key", "level: low\n", "level: low\n---\n" + correlation + "  odd: 1\n", `30:3: "odd" is not part of a correlation and has no effect`},
		{"group_by", "level: low\n", "level: low\n---\n" + correlation, "25:1: without group-by, the events of all hosts count together"},
	} {
		tested[test.check] = true
		t.Run(test.check, func(t *testing.T) {
			if !strings.Contains(sigmatest.LintCleanRule, test.old) {
				t.Fatalf("%q is not in the clean rule", test.old)
			}
			parsed, err := sigma.Parse("proc_clean_rule.yml", []byte(strings.Replace(sigmatest.LintCleanRule, test.old, test.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range lint.Run(parsed, lint.Options{Only: []string{test.check}, Known: known, Now: now}) {
				got = append(got, f.String())
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], "proc_clean_rule.yml:"+test.want) || !strings.HasSuffix(got[0], " ["+test.check+"]") {
				t.Errorf("got\n%s\nwant\nproc_clean_rule.yml:%s", strings.Join(got, "\n"), test.want)
			}
			if got := lint.Run(parsed, lint.Options{Ignore: []string{test.check}, Known: known, Now: now}); slices.ContainsFunc(got, func(f lint.Finding) bool { return f.Check == test.check }) {
				t.Error("found though ignored")
			}
		})
	}
	for _, c := range lint.Checks() {
		if !tested[c.Name] && !strings.HasSuffix(c.Name, "filename") {
			t.Errorf("no case for %s", c.Name)
		}
	}
	parsed, _ := sigma.Parse("proc_clean_rule.yml", []byte(sigmatest.LintCleanRule))
	for _, f := range lint.Run(parsed, lint.Options{Known: known, Now: now}) {
		t.Errorf("of the clean rule: %s", f)
	}
}

// filter has no status, which filters need not have.
const filter = `title: F
logsource: {product: windows, category: process_creation}
filter: {rules: any, s: {Image: x}, condition: not s}
id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a53
`

const correlation = `title: C
correlation:
  type: event_count
  rules: [3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52]
  timespan: 5m
  condition: {gte: 10}
`

// The former names of checks are accepted.
func TestFormerNames(t *testing.T) {
	parsed, err := sigma.Parse("proc_clean_rule.yml", []byte(strings.Replace(sigmatest.LintCleanRule, "selection and not filter", "not filter and not selection", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := lint.CurrentCheckName("no_witness"); name != "no_prefilter" || !ok {
		t.Errorf("no_witness is %s, %t", name, ok)
	}
	if name, ok := lint.CurrentCheckName("presence_only"); name != "weak_prefilter" || !ok {
		t.Errorf("presence_only is %s, %t", name, ok)
	}
	if _, ok := lint.CurrentCheckName("no_such_check"); ok {
		t.Error("no_such_check exists")
	}
	if got := lint.Run(parsed, lint.Options{Only: []string{"no_witness"}}); len(got) != 1 || got[0].Check != "no_prefilter" {
		t.Errorf("only no_witness: got %v", got)
	}
	if got := lint.Run(parsed, lint.Options{Ignore: []string{"no_witness"}}); slices.ContainsFunc(got, func(f lint.Finding) bool { return f.Check == "no_prefilter" }) {
		t.Error("found though ignored by its former name")
	}
}

func TestLintFilenames(t *testing.T) {
	var parsed ast.Collection
	for _, name := range []string{"a/Good.yml", "b/Good.yml"} {
		p, err := sigma.Parse(name, []byte(sigmatest.LintCleanRule))
		if err != nil {
			t.Fatal(err)
		}
		parsed.Add(p)
	}
	var got []string
	for _, f := range lint.Run(parsed, lint.Options{Only: []string{"filename", "duplicate_filename"}}) {
		got = append(got, f.Check+" "+f.Meta.File)
	}
	if want := []string{"filename a/Good.yml", "duplicate_filename b/Good.yml", "filename b/Good.yml"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The severities are chosen so that SigmaHQ's rules have hardly any warnings.
func TestLintSigmaHQ(t *testing.T) {
	parsed := sigmatest.SigmaHQRules(t)
	start := time.Now()
	counts := make(map[lint.Severity]int)
	for _, f := range lint.Run(parsed, lint.Options{}) {
		counts[f.Severity]++
		if f.Severity > lint.Info {
			t.Log(f)
		}
	}
	t.Logf("%v in %v", counts, time.Since(start))
	if counts[lint.Error] > 0 || counts[lint.Warning] > 10 {
		t.Errorf("%d errors and %d warnings", counts[lint.Error], counts[lint.Warning])
	}
}

// docs/sigma.md lists the checks, each with its severity and what it finds.
func TestLintDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "sigma.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range lint.Checks() {
		line := fmt.Sprintf("| `%s` | %s | %s |", c.Name, c.Severity, c.About)
		if !strings.Contains(string(page), line) {
			t.Errorf("docs/sigma.md lacks\n%s", line)
		}
	}
}
