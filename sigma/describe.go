package sigma

import (
	"fmt"
	"strconv"
	"strings"
)

// A describer says in words what witnesses are made of.
type describer struct {
	weigher
	names []string // of fields, by id
}

func newDescriber(rs *RuleSet) *describer {
	d := &describer{weigher: weigher{rs.shared, rs.freq}, names: make([]string, len(rs.shared.fields))}
	for name, id := range rs.shared.fields {
		d.names[id] = name
	}
	return d
}

// shownAtoms and shownLiterals are how much of a witness is shown.
const (
	shownAtoms    = 3
	shownLiterals = 3
)

func (d *describer) witness(w *witness) string {
	if w.chance >= unwitnessed {
		return ""
	}
	var parts []string
	for i, id := range w.atoms {
		if i == shownAtoms {
			parts = append(parts, fmt.Sprintf("%d more", len(w.atoms)-i))
			break
		}
		parts = append(parts, d.atom(&d.atoms[id]))
	}
	return strings.Join(parts, " or ")
}

func (d *describer) atom(a *atom) string {
	name := "any value"
	if a.field != anyField {
		name = d.names[a.field]
	}
	switch a.op {
	case opLiterals:
		var parts []string
		for from := 0; from < len(a.literals); {
			to := from // literals are sorted by how
			var texts []string
			for ; to < len(a.literals) && a.literals[to].how == a.literals[from].how; to++ {
				texts = append(texts, string(a.literals[to].text))
			}
			parts = append(parts, howNames[a.literals[from].how]+" "+some(texts))
			from = to
		}
		return name + " " + strings.Join(parts, " or ")
	case opNumber:
		var texts []string
		for _, n := range a.numbers {
			texts = append(texts, n.text())
		}
		return name + " = " + some(texts)
	case opGlob, opRegex:
		if set := d.gate(a); set != nil {
			var texts []string
			for _, l := range set {
				texts = append(texts, string(l))
			}
			return name + " contains " + some(texts)
		}
	}
	return name + " is there"
}

// text writes the decimal as a number, with an exponent where it is long.
func (d decimal) text() string {
	s := strings.ReplaceAll(d.digits, ".", "")
	switch zeros := d.exp - len(s); {
	case s == "":
		return "0"
	case zeros >= 0 && zeros < 20:
		s += strings.Repeat("0", zeros)
	case d.exp > 0 && d.exp < len(s):
		s = s[:d.exp] + "." + s[d.exp:]
	default:
		s = "0." + s + "e" + strconv.Itoa(d.exp)
	}
	if d.neg {
		return "-" + s
	}
	return s
}

var howNames = [...]string{equals: "=", prefix: "startswith", suffix: "endswith", contains: "contains"}

func some(texts []string) string {
	if n := len(texts); n > shownLiterals {
		return strings.Join(texts[:shownLiterals], ", ") + fmt.Sprintf(" and %d more", n-shownLiterals)
	}
	return strings.Join(texts, ", ")
}
