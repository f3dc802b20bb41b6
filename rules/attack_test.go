package rules_test

import (
	_ "embed"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/sigma/ast"
)

//go:embed attack.tsv
var attackTSV string

// A technique is one of MITRE ATT&CK.
type technique struct {
	Name       string
	ReplacedBy string // "" if it is current
}

// attackTechniques returns the techniques of attack.tsv by id.
func attackTechniques(t *testing.T) map[string]technique {
	t.Helper()
	techniques := make(map[string]technique)
	for line := range strings.Lines(attackTSV) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) != 2 && len(columns) != 3 {
			t.Fatalf("attack.tsv: %q has %d columns", line, len(columns))
		}
		known := technique{Name: columns[1]}
		if len(columns) == 3 {
			known.ReplacedBy = columns[2]
		}
		techniques[columns[0]] = known
	}
	return techniques
}

// attackTactics are the tactics of ATT&CK that rules are about.
var attackTactics = []string{
	"initial-access", "execution", "persistence", "privilege-escalation", "stealth", "defense-impairment", "credential-access",
	"discovery", "lateral-movement", "collection", "command-and-control", "exfiltration", "impact",
}

// techniqueIDs returns the ids of the techniques in tags.
func techniqueIDs(tags []string) (ids []string) {
	for _, tag := range tags {
		if name, ok := strings.CutPrefix(tag, "attack."); ok && !slices.Contains(attackTactics, name) {
			ids = append(ids, strings.ToUpper(name))
		}
	}
	return ids
}

// Every tag is a tactic or a technique of ATT&CK. A technique that was revoked stands
// beside its replacement, and the other way round: searches for either find the rule.
func TestTags(t *testing.T) {
	techniques := attackTechniques(t)
	replaces := make(map[string][]string)
	for id, known := range techniques {
		if known.ReplacedBy != "" {
			if current, ok := techniques[known.ReplacedBy]; !ok || current.ReplacedBy != "" {
				t.Errorf("attack.tsv: %s is replaced by %s, which is not current", id, known.ReplacedBy)
			}
			replaces[known.ReplacedBy] = append(replaces[known.ReplacedBy], id)
		}
	}
	check := func(m *ast.Meta) {
		ids := techniqueIDs(m.Tags)
		for _, id := range ids {
			known, ok := techniques[id]
			if !ok {
				t.Errorf("%s: %s is not a tactic or technique of ATT&CK", m.File, id)
			}
			if known.ReplacedBy != "" && !slices.Contains(ids, known.ReplacedBy) {
				t.Errorf("%s: %s was replaced by %s, which is not a tag", m.File, id, known.ReplacedBy)
			}
			if old := replaces[id]; old != nil && !slices.ContainsFunc(old, func(id string) bool { return slices.Contains(ids, id) }) {
				t.Errorf("%s: %s replaced %s, none of which is a tag", m.File, id, old)
			}
		}
		folder := strings.ReplaceAll(path.Base(path.Dir(m.File)), "_", "-")
		if len(m.Tags) > 0 && !slices.Contains(m.Tags, "attack."+folder) {
			t.Errorf("%s: the folder's tactic is not a tag", m.File)
		}
	}
	set := loadPack(t)
	for _, r := range set.Parsed.Rules {
		check(&r.Meta)
	}
	for _, c := range set.Parsed.Correlations {
		check(&c.Meta)
	}
}
