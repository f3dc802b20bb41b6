package rules_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/rules"
	"github.com/picket-edr/picket/sigma/ast"
)

var update = flag.Bool("update", false, "rewrite the generated pages")

// loadPack loads the pack without its rules being compiled away.
func loadPack(t *testing.T) ruleset.LoadedRules {
	t.Helper()
	set, err := ruleset.Load([]ruleset.Source{{Name: "builtin", FS: rules.FS}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// A listedRule is a rule or correlation that raises alerts.
type listedRule struct {
	*ast.Meta
	platform, tactic string   // of its folder
	techniques       []string // current ids
	data             []string // the logsources that it needs
}

// listedRules returns the rules and correlations that raise alerts, in the order of
// docs/rules.md. Rules that exist only as parts of correlations are not among them.
func listedRules(t *testing.T) []listedRule {
	t.Helper()
	set := loadPack(t)
	known := attackTechniques(t)
	dataOf := make(map[string][]string) // by id and name
	onlyPart := make(map[string]bool)   // by id and name: exists for a correlation
	for _, c := range set.Rules.Correlations() {
		for _, ref := range c.Rules {
			onlyPart[ref] = !c.Generate
		}
	}
	var listed []listedRule
	add := func(m *ast.Meta, data []string) {
		slices.Sort(data)
		data = slices.Compact(data)
		dataOf[m.ID], dataOf[m.Name] = data, data
		if onlyPart[m.ID] || m.Name != "" && onlyPart[m.Name] {
			return
		}
		parts := strings.Split(strings.TrimPrefix(m.File, "builtin/"), "/")
		r := listedRule{Meta: m, platform: parts[0], data: data}
		if len(parts) == 3 {
			r.tactic = parts[1]
		}
		for _, id := range techniqueIDs(m.Tags) {
			if known[id].ReplacedBy == "" {
				r.techniques = append(r.techniques, id)
			}
		}
		listed = append(listed, r)
	}
	for _, r := range set.Parsed.Rules {
		add(&r.Meta, []string{r.LogSource.String()})
	}
	for _, c := range set.Rules.Correlations() { // each after those that it refers to
		var data []string
		for _, ref := range c.Rules {
			data = append(data, dataOf[ref]...)
		}
		add(&c.Meta, data)
	}
	slices.SortFunc(listed, func(a, b listedRule) int {
		return cmp.Or(cmp.Compare(a.platform, b.platform), cmp.Compare(tacticRank(a.tactic), tacticRank(b.tactic)),
			slices.Compare(a.techniques, b.techniques), cmp.Compare(a.Title, b.Title))
	})
	return listed
}

func tacticRank(folder string) int {
	return slices.Index(attackTactics, strings.ReplaceAll(folder, "_", "-"))
}

// title returns the words of a folder's or a platform's name in capitals.
func title(folder string) string {
	words := strings.Split(folder, "_")
	for i, w := range words {
		if w != "and" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// rulesPage returns docs/rules.md.
func rulesPage(t *testing.T, listed []listedRule) []byte {
	known := attackTechniques(t)
	covered := make(map[string]bool)
	for _, r := range listed {
		for _, id := range r.techniques {
			covered[id] = true
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `# picket's own rules

Generated from [rules](../rules) by `+"`make golden`"+`; do not edit.

%d rules and correlations for %d techniques and sub-techniques of MITRE ATT&CK, version 19. Each rule is a file in the
folder of its tactic, with the events that it matches, and others that look alike and that it does not, in a file beside
it. [rules.navigator.json](rules.navigator.json) is the same as a layer for the
[ATT&CK Navigator](https://mitre-attack.github.io/attack-navigator/).

The data that a rule needs are named by Sigma's logsources:

| logsource | where it comes from |
|---|---|
| linux/process_creation | picket's agent; auditd, Sysmon for Linux, Falco, Tetragon, osquery and other [formats](formats.md) |
| linux/file_event, file_delete, file_rename, file_access, network_connection | sensors that record files and connections: the same formats |
| linux/dns_query | name servers and sensors that record queries |
| linux/auditd | records of the audit system other than starts of programs |
| linux/auth, sshd, sudo, cron, syslog | lines of the system's log |
| windows/security, system, process_creation, … | the event log, with Sysmon for most categories |

## Ordinary work

A rule should be quiet in peace. `+"`make noise`"+` runs a day of ordinary work in a scratch root within a minute or two,
watched by the process source of picket's agent, and lists the rules that fire. It fails on an alert of level high, on
five alerts of level medium, and on a rule of level low that fires on more than five different commands. It needs root.
What fired is among the `+"`falsepositives`"+` of its rule. The day is in [test/noise](../test/noise):

- for real: builds with gcc, make, CMake, Go, Node and Python, git, shells and what people type in them, tar, gzip,
  logrotate, run-parts, a script like a module of Ansible, and 60 packages that are built of installed files, put
  into a repository, and installed, reinstalled and removed by apt and dpkg;
- by stand-ins with the paths and arguments of the real programs, which do nothing or start the real commands as their
  children: cron, sshd, web and mail servers, databases, agents of monitoring, container engines, cloud tools, sudo;
- as events that were written by hand, because the agent does not record them: files, including all that dpkg writes
  for 60 packages, and lines of the log.

What takes people hours takes the test seconds, so the events of sessions are spread over the time that they last.
`, len(listed), len(covered))
	platform, tactic := "", "-"
	for _, r := range listed {
		if r.platform != platform {
			fmt.Fprintf(&b, "\n## %s\n", title(r.platform))
			platform, tactic = r.platform, "-"
		}
		if r.tactic != tactic {
			if r.tactic != "" {
				fmt.Fprintf(&b, "\n### %s\n", title(r.tactic))
			}
			b.WriteString("\n| technique | rule | level | data |\n|---|---|---|---|\n")
			tactic = r.tactic
		}
		names := make([]string, len(r.techniques))
		for i, id := range r.techniques {
			names[i] = fmt.Sprintf("[%s](https://attack.mitre.org/techniques/%s/) %s", id, strings.ReplaceAll(id, ".", "/"), known[id].Name)
		}
		file := strings.TrimPrefix(r.File, "builtin/")
		fmt.Fprintf(&b, "| %s | [%s](../rules/%s) | %s | %s |\n", strings.Join(names, ", "), r.Title, file, r.Level, strings.Join(r.data, ", "))
	}
	return b.Bytes()
}

// A navigatorTechnique is a technique of a layer of the ATT&CK Navigator.
type navigatorTechnique struct {
	ID      string `json:"techniqueID"`
	Score   int    `json:"score"` // the number of rules
	Comment string `json:"comment"`
}

// navigatorLayer returns docs/rules.navigator.json.
func navigatorLayer(t *testing.T, listed []listedRule) []byte {
	titles := make(map[string][]string)
	for _, r := range listed {
		for _, id := range r.techniques {
			titles[id] = append(titles[id], r.Title)
		}
	}
	techniques := make([]navigatorTechnique, 0, len(titles))
	for id, of := range titles {
		slices.Sort(of)
		techniques = append(techniques, navigatorTechnique{id, len(of), strings.Join(of, "\n")})
	}
	slices.SortFunc(techniques, func(a, b navigatorTechnique) int { return cmp.Compare(a.ID, b.ID) })
	layer, err := json.MarshalIndent(map[string]any{
		"name": "picket's own rules", "domain": "enterprise-attack", "description": "The number of rules for each technique.",
		"versions":   map[string]string{"attack": "19", "navigator": "5.1.0", "layer": "4.5"},
		"sorting":    3,
		"gradient":   map[string]any{"colors": []string{"#d3e5ff", "#0b5fff"}, "minValue": 1, "maxValue": 10},
		"techniques": techniques,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(layer, '\n')
}

// The generated pages of the documentation are up to date.
func TestGenerated(t *testing.T) {
	listed := listedRules(t)
	for name, content := range map[string][]byte{"rules.md": rulesPage(t, listed), "rules.navigator.json": navigatorLayer(t, listed)} {
		file := filepath.Join("..", "docs", name)
		if *update {
			if err := os.WriteFile(file, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(string(have), string(content)); diff != "" {
			t.Errorf("%s is not up to date; make golden writes it (-have +want)\n%s", path.Join("docs", name), diff)
		}
	}
}

// Each file has one rule that raises alerts, and stands in the folder of a tactic.
func TestOneRuleAFile(t *testing.T) {
	inFile := make(map[string]string)
	for _, r := range listedRules(t) {
		if other, ok := inFile[r.File]; ok {
			t.Errorf("%s has two rules: %q and %q", r.File, other, r.Title)
		}
		inFile[r.File] = r.Title
		if r.tactic == "" && r.Tags != nil || r.tactic != "" && tacticRank(r.tactic) < 0 {
			t.Errorf("%s: not in the folder of a tactic", r.File)
		}
	}
}
