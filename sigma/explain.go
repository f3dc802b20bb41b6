package sigma

import "github.com/picket-edr/picket/sigma/correlation"

// Evidence is a field and the value of it that made a rule match.
type Evidence struct {
	Field string `json:"field"`
	Value string `json:"value"`
}

// GroupEvidence returns the group of a correlation's match as evidence.
func GroupEvidence(group []correlation.GroupValue) []Evidence {
	var out []Evidence
	for _, g := range group {
		out = append(out, Evidence(g))
	}
	return out
}

// Explain returns the values that made the rule match the event, each once and
// in full, those of the cheapest conditions first. Conditions under not leave
// no evidence. There is none if the rule does not match, and for a Rule that
// Compile did not make.
//
// Explain evaluates the rule again; call it for matches only.
func (r *Rule) Explain(fields []Field) []Evidence {
	if r.program == nil {
		return nil
	}
	x := explainer{sharedTables: r.program.interned, view: newEventView(r.program.interned, fields)}
	if !x.explain(&r.program.expr) {
		return nil
	}
	var out []Evidence
	for _, n := range x.found {
		f := fields[x.view.values[n].field]
		out = append(out, Evidence{Field: f.Name, Value: f.Value.Text})
	}
	return out
}

type explainer struct {
	*sharedTables
	view  *eventView
	found []int32 // values, in order
}

// explain evaluates e and keeps the values that it found only if e holds.
func (x *explainer) explain(e *expr) (holds bool) {
	before := len(x.found)
	switch e.op {
	case exprAtom:
		n, ok := x.atoms[e.atom].findMatch(x.view)
		if ok && n >= 0 {
			x.addValue(n)
		}
		return ok
	case exprNot:
		ok := x.explain(&e.operands[0])
		x.found = x.found[:before]
		return !ok
	case exprAnd:
		for i := range e.operands {
			if !x.explain(&e.operands[i]) {
				x.found = x.found[:before]
				return false
			}
		}
		return true
	}
	any := false
	for i := range e.operands {
		any = x.explain(&e.operands[i]) || any
	}
	return any
}

func (x *explainer) addValue(valueIndex int32) {
	for _, have := range x.found {
		if have == valueIndex {
			return
		}
	}
	x.found = append(x.found, valueIndex)
}
