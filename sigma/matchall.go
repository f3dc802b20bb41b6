package sigma

// MatchAll appends to dst the rules of the group that fire on the event, as
// Matcher.Match does, by evaluating every rule in full: no index, and no answer
// used twice. It is for checking Match, and takes a hundred times as long.
func (g *Group) MatchAll(fields []Field, dst []*Rule) []*Rule {
	if g == nil {
		return dst
	}
	v := new(view)
	v.reset(len(g.rs.shared.fields))
	for i := range fields {
		id, ok := g.rs.shared.fields[fields[i].Name]
		if !ok {
			id = anyField
		}
		v.add(id, i, fields[i].Value)
	}
	for _, r := range g.rules {
		rule := g.rs.rules[r]
		if rule.prog.holds(&rule.prog.expr, v) {
			dst = append(dst, rule)
		}
	}
	return dst
}

func (p *program) holds(e *expr, v *view) bool {
	switch e.op {
	case exprNot:
		return !p.holds(&e.kids[0], v)
	case exprAnd, exprOr:
		for i := range e.kids {
			if p.holds(&e.kids[i], v) == (e.op == exprOr) {
				return e.op == exprOr
			}
		}
		return e.op == exprAnd
	}
	_, ok := p.shared.atoms[e.atom].find(v)
	return ok
}
