package sigma

// Evidence is a field and the value of it that made a rule fire.
type Evidence struct {
	Field string `json:"field"`
	Value string `json:"value"`
}

// Explain returns the values that made the rule fire on the event, each once,
// those of the simplest conditions first. Values are not shortened. What a rule demands to be
// absent leaves no evidence. There is none if the rule does not fire, and for
// rules that don't come from a RuleSet.
//
// Explain evaluates the rule anew and is meant for matches only.
func (r *Rule) Explain(fields []Field) []Evidence {
	if r.prog == nil {
		return nil
	}
	x := explainer{shared: r.prog.shared}
	x.view.reset(len(x.fields))
	for i, f := range fields {
		id, ok := x.fields[f.Name]
		if !ok {
			id = anyField
		}
		x.view.add(id, i, f.Value)
	}
	if !x.explain(&r.prog.expr) {
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
	*shared
	view  view
	found []int32 // values, in order
}

// explain evaluates e and keeps what was found only if it holds.
func (x *explainer) explain(e *expr) bool {
	before := len(x.found)
	switch e.op {
	case exprIs:
		n, ok := x.atoms[e.atom].find(&x.view)
		if ok && n >= 0 {
			x.add(n)
		}
		return ok
	case exprNot:
		ok := x.explain(&e.kids[0])
		x.found = x.found[:before]
		return !ok
	case exprAnd:
		for i := range e.kids {
			if !x.explain(&e.kids[i]) {
				x.found = x.found[:before]
				return false
			}
		}
		return true
	}
	any := false
	for i := range e.kids {
		any = x.explain(&e.kids[i]) || any
	}
	return any
}

func (x *explainer) add(n int32) {
	for _, have := range x.found {
		if have == n {
			return
		}
	}
	x.found = append(x.found, n)
}
