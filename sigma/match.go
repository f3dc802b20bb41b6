package sigma

import "slices"

// A Matcher is the working memory of one goroutine for matching events. It
// adapts to whatever RuleSet it is used with, so it outlives a reload of the
// rules. What it keeps from one event to the next is bounded.
type Matcher struct {
	view
	rs     *RuleSet
	group  *Group
	marks  []uint32 // by atom: epoch<<2 | state
	queued []uint32 // by rule: the epoch in which it became a candidate
	rules  []int32  // candidates
}

// The states of an atom that has been looked at in this epoch.
const (
	isFalse = 0
	isTrue  = 1
	maybe   = 2 // stirred, not evaluated
)

// NewMatcher returns a Matcher, which is for one goroutine at a time.
func NewMatcher() *Matcher { return new(Matcher) }

// Match appends to dst the rules of the group that fire on the event, in the
// order of the RuleSet. It allocates nothing while no rule fires, once the
// Matcher has seen events of this size. The fields are only read, and not
// kept. A nil group has no rules.
func (m *Matcher) Match(g *Group, fields []Field, dst []*Rule) []*Rule {
	if g == nil {
		return dst
	}
	m.seek(g, fields)
	fired := m.rules[:0]
	for _, r := range m.rules {
		if m.eval(&g.rs.rules[r].prog.expr) {
			fired = append(fired, r)
		}
	}
	slices.Sort(fired)
	for _, r := range fired {
		dst = append(dst, g.rs.rules[r])
	}
	m.forget()
	return dst
}

// seek finds the candidates: the rules that may fire on the event.
func (m *Matcher) seek(g *Group, fields []Field) {
	m.start(g)
	for i := range fields {
		f := &fields[i]
		id, ok := g.ids.find(f.Name)
		if !ok {
			if !g.every {
				continue
			}
			id = anyField
		}
		n := m.add(id, i, f.Value)
		if ok {
			if fi := g.indexes[id]; fi != nil {
				m.look(fi, n)
			}
		}
		if g.keyword != nil {
			m.look(g.keyword, n)
		}
	}
	m.rules = append(m.rules, g.open...)
}

// forget makes the matcher hold nothing of the event.
func (m *Matcher) forget() {
	for i := range m.values {
		m.values[i] = viewValue{}
	}
}

// start makes the matcher ready for an event of the group.
func (m *Matcher) start(g *Group) {
	if m.rs != g.rs {
		m.rs = g.rs
		m.marks = make([]uint32, len(g.rs.shared.atoms))
		m.queued = make([]uint32, len(g.rs.rules))
		m.slots, m.epoch = nil, 0
	}
	m.group, m.rules = g, m.rules[:0]
	if m.reset(len(g.rs.shared.fields)) {
		clear(m.marks)
		clear(m.queued)
	}
}

// look finds what value n stirs.
func (m *Matcher) look(fi *fieldIndex, n int32) {
	if len(fi.always) > 0 {
		m.mark(m.group, fi.always)
	}
	val := &m.values[n]
	if val.Kind == Null {
		return
	}
	if fi.number != nil {
		m.lookNumber(fi, val.Text)
	}
	if fi.tails != nil || fi.grams != nil || fi.empty != nil || fi.direct != nil {
		if !val.isFolded && !fi.mayFind(val.Text) {
			return
		}
		b := m.folded(n)
		fi.find(b, m.values[n].ascii, finder{m, m.group, fi})
	}
}

func (m *Matcher) lookNumber(fi *fieldIndex, text string) {
	if text == "" || !isDigit(text[0]) && text[0] != '-' {
		return
	}
	d, ok := parseDecimal(text)
	if !ok {
		return
	}
	for i := range fi.number[d.hash()] {
		if e := &fi.number[d.hash()][i]; e.number.cmp(d) == 0 {
			m.mark(m.group, e.hits)
		}
	}
}

// mark notes finds and makes the rules they are witness for candidates.
func (m *Matcher) mark(g *Group, hits []hit) {
	for _, h := range hits {
		a := &g.atoms[h.atom]
		state := uint32(maybe)
		if h.exact {
			state = isTrue
		}
		mark := &m.marks[a.atom]
		if *mark>>2 == m.epoch {
			if h.exact {
				*mark = m.epoch<<2 | isTrue
			}
			continue
		}
		*mark = m.epoch<<2 | state
		for _, r := range a.rules {
			if m.queued[r] != m.epoch {
				m.queued[r] = m.epoch
				m.rules = append(m.rules, r)
			}
		}
	}
}

func (m *Matcher) eval(e *expr) bool {
	switch e.op {
	case exprAnd:
		for i := range e.kids {
			if !m.eval(&e.kids[i]) {
				return false
			}
		}
		return true
	case exprOr:
		for i := range e.kids {
			if m.eval(&e.kids[i]) {
				return true
			}
		}
		return false
	case exprNot:
		return !m.eval(&e.kids[0])
	}
	return m.holds(e.atom)
}

// holds answers an atom, once per event.
func (m *Matcher) holds(id int32) bool {
	mark := &m.marks[id]
	if *mark>>2 == m.epoch {
		if state := *mark & 3; state != maybe {
			return state == isTrue
		}
	} else if m.group.indexed[id/64]&(1<<(id%64)) != 0 {
		return false // it would have been found
	}
	_, ok := m.rs.shared.atoms[id].find(&m.view)
	*mark = m.epoch << 2
	if ok {
		*mark |= isTrue
	}
	return ok
}
