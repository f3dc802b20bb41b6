package sigma

import (
	"encoding/binary"

	"github.com/picket-edr/picket/sigma/casefold"
	"github.com/picket-edr/picket/sigma/internal/literalindex"
)

// A RuleGroup holds the rules of a RuleSet that apply to events of certain
// logsources, with an index of their prefilters. It is immutable and safe for
// concurrent use. A nil RuleGroup has no rules.
type RuleGroup struct {
	set            *RuleSet
	rules          []int32                      // indexes into RuleSet.rules, ascending
	unindexed      []int32                      // those of them without a prefilter
	fields         fieldTable                   // of the fields that the rules refer to
	fieldIndexes   []*literalindex.Index        // by number of the field, nil without prefilters
	keywordIndex   *literalindex.Index          // of the values of all fields, or nil
	hasKeywords    bool                         // so that values of other fields matter too
	prefilterAtoms []literalindex.PrefilterAtom // the atoms of the prefilters
	foundOnly      []uint64                     // bits by atom: the atom does not hold unless an index finds it
}

// Rules returns the rules of the group, in the order of the RuleSet.
func (g *RuleGroup) Rules() []*Rule {
	if g == nil {
		return nil
	}
	out := make([]*Rule, len(g.rules))
	for i, r := range g.rules {
		out[i] = g.set.rules[r]
	}
	return out
}

// UsesField reports whether a rule of the group refers to a field of that name.
func (g *RuleGroup) UsesField(name string) bool {
	if g == nil {
		return false
	}
	_, uses := g.fields.find(name)
	return uses
}

// maxCachedGroups bounds the cache of groups, in case events have ever new sources.
const maxCachedGroups = 4096

// Group returns the rules that apply to an event that belongs to all of the
// sources: those whose logsource covers any one of them. It is nil if there
// are none. The first call for some sources builds the group, and later calls
// return the same one.
func (rs *RuleSet) Group(sources ...LogSource) *RuleGroup {
	var buf [256]byte
	key := buf[:0]
	for _, s := range sources {
		for _, part := range [...]string{s.Product, s.Category, s.Service} {
			start := len(key)
			key = appendLowerASCII(key, part)
			if !rs.logSourceParts[string(key[start:])] {
				key = key[:start] // no rule covers it, whatever it is: senders may make up many
			}
			key = append(key, 0)
		}
	}
	rs.mu.RLock()
	g, ok := rs.groups[string(key)]
	rs.mu.RUnlock()
	if ok {
		return g
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if g, ok := rs.groups[string(key)]; ok {
		return g
	}
	if rs.groups == nil || len(rs.groups) >= maxCachedGroups {
		rs.groups = make(map[string]*RuleGroup)
	}
	g = rs.internGroup(rs.rulesFor(sources))
	rs.groups[string(key)] = g
	return g
}

func appendLowerASCII(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, casefold.LowerASCII(s[i]))
	}
	return dst
}

// logSourcePartsOf returns the products, categories and services that rules name, in
// lower case.
func logSourcePartsOf(rules []*Rule) map[string]bool {
	named := make(map[string]bool)
	for _, r := range rules {
		for _, part := range [...]string{r.LogSource.Product, r.LogSource.Category, r.LogSource.Service} {
			if part != "" {
				named[string(appendLowerASCII(nil, part))] = true
			}
		}
	}
	return named
}

func (rs *RuleSet) rulesFor(sources []LogSource) []int32 {
	var rules []int32
	for i, r := range rs.rules {
		for _, s := range sources {
			if r.LogSource.Covers(s) {
				rules = append(rules, int32(i))
				break
			}
		}
	}
	return rules
}

// internGroup returns the group of these rules, which many sources may share.
func (rs *RuleSet) internGroup(rules []int32) *RuleGroup {
	if len(rules) == 0 {
		return nil
	}
	key := make([]byte, 0, 4*len(rules))
	for _, r := range rules {
		key = binary.LittleEndian.AppendUint32(key, uint32(r))
	}
	g, ok := rs.byRules[string(key)]
	if !ok {
		if rs.byRules == nil || len(rs.byRules) >= maxCachedGroups {
			rs.byRules = make(map[string]*RuleGroup)
		}
		g = rs.buildGroup(rules)
		rs.byRules[string(key)] = g
	}
	return g
}

func (rs *RuleSet) buildGroup(rules []int32) *RuleGroup {
	g := &RuleGroup{
		set: rs, rules: rules,
		fieldIndexes: make([]*literalindex.Index, len(rs.interned.fields)),
		foundOnly:    make([]uint64, len(rs.interned.atoms)/64+1),
	}
	used := make([]bool, len(rs.interned.fields))
	indexed := make(map[int32]int) // atom to index into g.prefilterAtoms
	for _, r := range rules {
		g.markUsedFields(&rs.rules[r].program.expr, used)
		p := &rs.rules[r].program.prefilter
		if p.selectivity >= noPrefilterSelectivity {
			g.unindexed = append(g.unindexed, r)
			continue
		}
		for _, a := range p.atoms {
			i, ok := indexed[a]
			if !ok {
				i = len(g.prefilterAtoms)
				indexed[a] = i
				g.prefilterAtoms = append(g.prefilterAtoms, literalindex.PrefilterAtom{Atom: a})
			}
			g.prefilterAtoms[i].Rules = append(g.prefilterAtoms[i].Rules, r)
		}
	}
	ids := make(map[string]int32)
	for name, id := range rs.interned.fields {
		if used[id] {
			ids[name] = id
		}
	}
	g.fields = newFieldTable(ids)
	g.buildIndexes()
	return g
}

// markUsedFields marks the fields that an expression refers to.
func (g *RuleGroup) markUsedFields(e *expr, used []bool) {
	for i := range e.operands {
		g.markUsedFields(&e.operands[i], used)
	}
	if e.op != exprAtom {
		return
	}
	a := &g.set.interned.atoms[e.atom]
	if a.field == anyField {
		g.hasKeywords = true
		return
	}
	used[a.field] = true
	if a.op == opFieldRef {
		used[a.other] = true
	}
}

// buildIndexes makes the indexes of the prefilters' atoms.
func (g *RuleGroup) buildIndexes() {
	model := selectivityModel{g.set.interned}
	builders := make(map[int32]*literalindex.Builder)
	for i := range g.prefilterAtoms {
		id := g.prefilterAtoms[i].Atom
		a := &model.atoms[id]
		b := builders[a.field]
		if b == nil {
			b = literalindex.NewBuilder(model.frequencies)
			builders[a.field] = b
		}
		model.addAtomToIndex(b, a, int32(i))
		if a.op != opNull && a.op != opExists {
			g.foundOnly[id/64] |= 1 << (id % 64)
		}
	}
	for field, b := range builders {
		if field == anyField {
			g.keywordIndex = b.Build()
		} else {
			g.fieldIndexes[field] = b.Build()
		}
	}
}

// addAtomToIndex adds to an index what finds an atom, the i-th of prefilterAtoms.
func (m selectivityModel) addAtomToIndex(b *literalindex.Builder, a *atom, i int32) {
	switch a.op {
	case opLiterals:
		for _, l := range a.literals {
			if a.cased {
				l.Text = []byte(casefold.String(string(l.Text)))
			}
			b.AddLiteral(l, literalindex.Posting{Atom: i, Exact: !a.cased && len(l.Text) > 0})
		}
		return
	case opNumberEquals:
		for _, n := range a.numbers {
			b.AddNumber(n, literalindex.Posting{Atom: i, Exact: true})
		}
		return
	case opGlob, opRegex:
		if set := m.requiredLiterals(a); set != nil {
			for _, l := range set {
				b.AddLiteral(literalindex.Literal{Placement: literalindex.Contains, Text: l}, literalindex.Posting{Atom: i})
			}
			return
		}
	}
	b.AddForAnyValue(literalindex.Posting{Atom: i})
}
