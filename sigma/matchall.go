package sigma

// MatchAll appends to dst the rules of the group that match the event, as
// Matcher.Match does, by evaluating every rule in full: without the index, and
// without sharing results between rules. It is there to check Match, and takes
// a hundred times as long.
func (g *RuleGroup) MatchAll(fields []Field, dst []*Rule) []*Rule {
	if g == nil {
		return dst
	}
	v := newEventView(g.set.interned, fields)
	for _, r := range g.rules {
		if rule := g.set.rules[r]; rule.program.holds(&rule.program.expr, v) {
			dst = append(dst, rule)
		}
	}
	return dst
}

// newEventView returns a view of an event, with all its values.
func newEventView(t *sharedTables, fields []Field) *eventView {
	v := new(eventView)
	v.reset(len(t.fields))
	for i, f := range fields {
		id, ok := t.fields[f.Name]
		if !ok {
			id = anyField
		}
		v.addValue(id, i, f.Value)
	}
	return v
}

func (p *ruleProgram) holds(e *expr, v *eventView) bool {
	switch e.op {
	case exprNot:
		return !p.holds(&e.operands[0], v)
	case exprAnd, exprOr:
		for i := range e.operands {
			if p.holds(&e.operands[i], v) == (e.op == exprOr) {
				return e.op == exprOr
			}
		}
		return e.op == exprAnd
	}
	_, ok := p.interned.atoms[e.atom].findMatch(v)
	return ok
}
