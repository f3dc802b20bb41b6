package sigma

import (
	"fmt"
	"strings"

	"github.com/picket-edr/picket/sigma/internal/literalindex"
)

// A prefilterDescriber describes prefilters for people.
type prefilterDescriber struct {
	selectivityModel
	names []string // of fields, by number
}

func newPrefilterDescriber(t *sharedTables) *prefilterDescriber {
	d := &prefilterDescriber{selectivityModel: selectivityModel{t}, names: make([]string, len(t.fields))}
	for name, id := range t.fields {
		d.names[id] = name
	}
	return d
}

// Of a longer prefilter, only so much is described.
const (
	maxDescribedAtoms    = 3
	maxDescribedLiterals = 3
)

// describe returns "" for a rule without a prefilter.
func (d *prefilterDescriber) describe(p *rulePrefilter) string {
	if p.selectivity >= noPrefilterSelectivity {
		return ""
	}
	var parts []string
	for i, id := range p.atoms {
		if i == maxDescribedAtoms {
			parts = append(parts, fmt.Sprintf("%d more", len(p.atoms)-i))
			break
		}
		parts = append(parts, d.describeAtom(&d.atoms[id]))
	}
	return strings.Join(parts, " or ")
}

func (d *prefilterDescriber) describeAtom(a *atom) string {
	name := "any value"
	if a.field != anyField {
		name = d.names[a.field]
	}
	switch a.op {
	case opLiterals:
		var parts []string
		for from := 0; from < len(a.literals); {
			to := from // literals are sorted by placement
			var texts []string
			for ; to < len(a.literals) && a.literals[to].Placement == a.literals[from].Placement; to++ {
				texts = append(texts, string(a.literals[to].Text))
			}
			parts = append(parts, placementNames[a.literals[from].Placement]+" "+joinFirstFew(texts))
			from = to
		}
		return name + " " + strings.Join(parts, " or ")
	case opNumberEquals:
		var texts []string
		for _, n := range a.numbers {
			texts = append(texts, n.String())
		}
		return name + " = " + joinFirstFew(texts)
	case opGlob, opRegex:
		if set := d.requiredLiterals(a); set != nil {
			var texts []string
			for _, l := range set {
				texts = append(texts, string(l))
			}
			return name + " contains " + joinFirstFew(texts)
		}
	}
	return name + " is present"
}

var placementNames = [...]string{literalindex.Equals: "=", literalindex.Prefix: "startswith", literalindex.Suffix: "endswith", literalindex.Contains: "contains"}

func joinFirstFew(texts []string) string {
	if n := len(texts); n > maxDescribedLiterals {
		return strings.Join(texts[:maxDescribedLiterals], ", ") + fmt.Sprintf(" and %d more", n-maxDescribedLiterals)
	}
	return strings.Join(texts, ", ")
}
