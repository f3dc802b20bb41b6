package sigma

import (
	"math"
	"strings"

	"github.com/picket-edr/picket/sigma/internal/literalindex"
)

// A rulePrefilter is a set of atoms of which an event must satisfy at
// least one for the rule to match, judged by what an index can tell: one of the
// atom's literals is found or, for atoms without literals, its field is
// present. A rule without a prefilter is evaluated for every event of its
// logsource.
type rulePrefilter struct {
	atoms []int32
	// selectivity estimates how many of a thousand events pass. It is
	// noPrefilterSelectivity if the rule has none.
	selectivity float64
}

// noPrefilterSelectivity is the selectivity of a rule without a prefilter.
var noPrefilterSelectivity = math.Inf(1)

// Selectivities, in thousandths.
const (
	presenceSelectivityPermille     = 700 // a field is present
	maxSelectivityPermille          = 900 // from here on a prefilter is not worth its cost
	numberEqualsSelectivityPermille = 20  // a field has a certain number
)

// A selectivityModel estimates how many events satisfy an atom.
type selectivityModel struct{ *sharedTables }

// prefilter returns the most selective prefilter of e or, if negated, of not e.
func (m selectivityModel) prefilter(e *expr, negated bool) rulePrefilter {
	switch {
	case e.op == exprAtom:
		return m.atomPrefilter(e.atom, negated)
	case e.op == exprNot:
		return m.prefilter(&e.operands[0], !negated)
	case e.op == exprAnd != negated: // all must hold: the prefilter of any one will do
		best := rulePrefilter{selectivity: noPrefilterSelectivity}
		for i := range e.operands {
			if p := m.prefilter(&e.operands[i], negated); p.selectivity < best.selectivity {
				best = p
			}
		}
		return best
	}
	var sum rulePrefilter // any may hold: the prefilters of all are needed
	for i := range e.operands {
		p := m.prefilter(&e.operands[i], negated)
		if math.IsInf(p.selectivity, 1) {
			return p
		}
		sum.selectivity += p.selectivity
		sum.atoms = append(sum.atoms, p.atoms...)
	}
	return sum
}

func (m selectivityModel) atomPrefilter(id int32, negated bool) rulePrefilter {
	a := &m.atoms[id]
	selectivity := noPrefilterSelectivity
	switch {
	case negated:
		// An atom that holds for a missing field fails only if the field is
		// present. Others also fail if it is missing.
		if a.op == opNull || a.op == opExists && !a.want {
			selectivity = presenceSelectivityPermille
		}
	case a.op == opNull, a.op == opExists && !a.want:
	default:
		selectivity = m.atomSelectivityPermille(a)
		if a.field == anyField {
			selectivity *= 4
		}
	}
	return rulePrefilter{atoms: []int32{id}, selectivity: selectivity}
}

// atomSelectivityPermille returns the selectivity of an atom, if that is found by an index.
func (m selectivityModel) atomSelectivityPermille(a *atom) float64 {
	switch a.op {
	case opLiterals:
		sum := 0.0
		for _, l := range a.literals {
			sum += m.literalSelectivityPermille(l.Placement, string(l.Text))
		}
		return min(sum, maxSelectivityPermille)
	case opNumberEquals:
		return float64(numberEqualsSelectivityPermille * len(a.numbers))
	case opGlob, opRegex:
		if set := m.requiredLiterals(a); set != nil {
			return min(m.containsSelectivityPermille(set), presenceSelectivityPermille)
		}
	}
	return presenceSelectivityPermille
}

// requiredLiterals returns literals of which a value must contain at least one
// for the glob or regex to match, nil if there are none.
func (m selectivityModel) requiredLiterals(a *atom) [][]byte {
	var best [][]byte
	choose := func(set [][]byte) {
		if best == nil || m.containsSelectivityPermille(set) < m.containsSelectivityPermille(best) {
			best = set
		}
	}
	if a.op == opGlob {
		for _, l := range a.required {
			choose([][]byte{l})
		}
		return best
	}
	for _, set := range a.regex.RequiredLiteralSets() {
		choose(set)
	}
	return best
}

// containsSelectivityPermille estimates how many values contain one of the literals.
func (m selectivityModel) containsSelectivityPermille(literals [][]byte) float64 {
	sum := 0.0
	for _, l := range literals {
		sum += m.literalSelectivityPermille(literalindex.Contains, string(l))
	}
	return sum
}

// literalSelectivityPermille estimates how many values have a literal: fewer the longer
// it is, and more the more rules contain its rarest bytes.
func (m selectivityModel) literalSelectivityPermille(p literalindex.Placement, text string) float64 {
	n := len(text)
	if n == 0 {
		if p == literalindex.Equals {
			return 100
		}
		return presenceSelectivityPermille
	}
	selectivity := 2.0
	switch {
	case n < 4:
		selectivity = [...]float64{900, 900, 500, 150}[n]
	case n < 12:
		selectivity = [...]float64{40, 25, 16, 10, 8, 6, 5, 4}[n-4]
	}
	if n >= 4 {
		selectivity *= 1 + float64(min(m.frequencies.RarestFrequency(text), 1000))/10
	}
	switch p {
	case literalindex.Equals:
		selectivity /= 4
	case literalindex.Suffix, literalindex.Prefix:
		selectivity /= 2
	}
	if n >= 3 && strings.Contains(literalindex.CommonText, text) {
		selectivity = max(selectivity, 300)
	}
	return min(selectivity, maxSelectivityPermille)
}

// A PrefilterStrength says how many events a rule must be evaluated for.
type PrefilterStrength uint8

const (
	// NoPrefilter is that of rules that are evaluated for every event of their
	// logsource.
	NoPrefilter PrefilterStrength = iota
	// WeakPrefilter is that of rules that are evaluated for every event that
	// has certain fields.
	WeakPrefilter
	// StrongPrefilter is that of rules that are evaluated only for events that
	// have certain strings or numbers.
	StrongPrefilter
)

// PrefilterStrength returns the strength of the rule's prefilter.
func (r *Rule) PrefilterStrength() PrefilterStrength {
	p := &r.program.prefilter
	if p.selectivity >= noPrefilterSelectivity {
		return NoPrefilter
	}
	model := selectivityModel{r.program.interned}
	for _, id := range p.atoms {
		switch a := &model.atoms[id]; a.op {
		case opLiterals, opNumberEquals:
			continue
		case opGlob, opRegex:
			if model.requiredLiterals(a) != nil {
				continue
			}
		}
		return WeakPrefilter
	}
	return StrongPrefilter
}
