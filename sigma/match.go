package sigma

import (
	"slices"

	"github.com/picket-edr/picket/sigma/internal/decimal"
	"github.com/picket-edr/picket/sigma/internal/literalindex"
)

// A Matcher is the working memory with which one goroutine matches events. It
// adapts to whichever RuleSet it is used with, so it survives a reload of the
// rules. What it keeps from one event to the next is bounded.
type Matcher struct {
	eventView
	set        *RuleSet
	group      *RuleGroup
	candidates literalindex.Candidates
	matched    []int32
}

// NewMatcher returns a Matcher, for one goroutine at a time.
func NewMatcher() *Matcher { return new(Matcher) }

// Match appends to dst the rules of the group that match the event, in the
// order of the RuleSet. It allocates nothing while no rule matches, once the
// Matcher has seen events of this size. The fields are only read, and not
// kept. A nil group has no rules.
func (m *Matcher) Match(g *RuleGroup, fields []Field, dst []*Rule) []*Rule {
	if g == nil {
		return dst
	}
	m.findCandidates(g, fields)
	m.matched = m.matched[:0]
	for _, r := range m.candidates.Rules() {
		if m.eval(&g.set.rules[r].program.expr) {
			m.matched = append(m.matched, r)
		}
	}
	slices.Sort(m.matched)
	for _, r := range m.matched {
		dst = append(dst, g.set.rules[r])
	}
	m.releaseEvent()
	return dst
}

// findCandidates finds the rules that must be evaluated.
func (m *Matcher) findCandidates(g *RuleGroup, fields []Field) {
	m.resetForEvent(g)
	for i := range fields {
		f := &fields[i]
		id, ok := g.fields.find(f.Name)
		if !ok {
			if !g.hasKeywords {
				continue
			}
			id = anyField
		}
		n := m.addValue(id, i, f.Value)
		if ok {
			if ix := g.fieldIndexes[id]; ix != nil {
				m.probe(ix, n)
			}
		}
		if g.keywordIndex != nil {
			m.probe(g.keywordIndex, n)
		}
	}
	m.candidates.AddUnconditionalRules(g.unindexed)
}

// releaseEvent drops the references to the event.
func (m *Matcher) releaseEvent() {
	for i := range m.values {
		m.values[i] = eventValue{}
	}
}

// resetForEvent prepares for an event of the group.
func (m *Matcher) resetForEvent(g *RuleGroup) {
	if m.set != g.set {
		m.set = g.set
		m.candidates.Reset(len(g.set.interned.atoms), len(g.set.rules))
		m.slots, m.epoch = nil, 0
	}
	m.group = g
	if m.reset(len(g.set.interned.fields)) {
		m.candidates.InvalidateEpochs()
	}
	m.candidates.BeginEvent(m.epoch, g.prefilterAtoms)
}

// probe looks value n up in an index.
func (m *Matcher) probe(ix *literalindex.Index, valueIndex int32) {
	m.candidates.MarkFound(ix.PostingsForAnyValue())
	val := &m.values[valueIndex]
	if val.Kind == Null {
		return
	}
	if ix.HasNumbers() {
		m.probeNumber(ix, val.Text)
	}
	if ix.HasLiterals() {
		if !val.isFolded && !ix.MayFind(val.Text) {
			return
		}
		b := m.foldedValue(valueIndex)
		ix.Find(b, m.values[valueIndex].ascii, &m.candidates)
	}
}

func (m *Matcher) probeNumber(ix *literalindex.Index, text string) {
	if text == "" || !isDigit(text[0]) && text[0] != '-' {
		return
	}
	if d, ok := decimal.Parse(text); ok {
		m.candidates.MarkFound(ix.NumberPostings(d))
	}
}

func (m *Matcher) eval(e *expr) bool {
	switch e.op {
	case exprAnd:
		for i := range e.operands {
			if !m.eval(&e.operands[i]) {
				return false
			}
		}
		return true
	case exprOr:
		for i := range e.operands {
			if m.eval(&e.operands[i]) {
				return true
			}
		}
		return false
	case exprNot:
		return !m.eval(&e.operands[0])
	}
	return m.atomHolds(e.atom)
}

// atomHolds evaluates an atom, once per event.
func (m *Matcher) atomHolds(atomID int32) bool {
	if state, known := m.candidates.Truth(atomID); known {
		if state != literalindex.Maybe {
			return state == literalindex.True
		}
	} else if m.group.foundOnly[atomID/64]&(1<<(atomID%64)) != 0 {
		return false // an index would have found it
	}
	_, ok := m.set.interned.atoms[atomID].findMatch(&m.eventView)
	m.candidates.SetTruth(atomID, ok)
	return ok
}
