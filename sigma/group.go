package sigma

import "encoding/binary"

// A Group is the rules of a RuleSet that apply to events of certain
// logsources, behind an index of their witnesses. It is immutable and safe for
// concurrent use. A nil Group has no rules.
type Group struct {
	rs      *RuleSet
	rules   []int32       // indexes into RuleSet.rules, ascending
	open    []int32       // those of them without a witness
	ids     nameTable     // of the fields that the rules name
	indexes []*fieldIndex // by field id, nil where nothing is indexed
	keyword *fieldIndex   // of every value, or nil
	every   bool          // values of other fields matter too, to keywords
	atoms   []groupAtom
	indexed []uint64 // bits by atom: does not hold unless found
}

// A groupAtom is an atom that is part of a witness.
type groupAtom struct {
	atom  int32
	rules []int32 // whose witness it is part of
}

// Rules returns the rules of the group in order.
func (g *Group) Rules() []*Rule {
	if g == nil {
		return nil
	}
	out := make([]*Rule, len(g.rules))
	for i, r := range g.rules {
		out[i] = g.rs.rules[r]
	}
	return out
}

// maxGroups bounds the memo of Group, should sources be made up endlessly.
const maxGroups = 4096

// Group returns the rules that apply to an event that belongs to all of the
// sources: those whose logsource covers any one of them. It is nil if there
// are none. The first call for some sources builds the group, later calls
// return the same one.
func (rs *RuleSet) Group(sources ...LogSource) *Group {
	var buf [256]byte
	key := buf[:0]
	for _, s := range sources {
		for _, part := range [...]string{s.Product, s.Category, s.Service} {
			for i := range len(part) {
				key = append(key, lowerASCII(part[i]))
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
	if rs.groups == nil || len(rs.groups) >= maxGroups {
		rs.groups = make(map[string]*Group)
	}
	g = rs.groupOf(rs.applying(sources))
	rs.groups[string(key)] = g
	return g
}

func (rs *RuleSet) applying(sources []LogSource) []int32 {
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

// groupOf returns the group of these rules, which many sources may share.
func (rs *RuleSet) groupOf(rules []int32) *Group {
	if len(rules) == 0 {
		return nil
	}
	key := make([]byte, 0, 4*len(rules))
	for _, r := range rules {
		key = binary.LittleEndian.AppendUint32(key, uint32(r))
	}
	g, ok := rs.byRules[string(key)]
	if !ok {
		if rs.byRules == nil || len(rs.byRules) >= maxGroups {
			rs.byRules = make(map[string]*Group)
		}
		g = rs.build(rules)
		rs.byRules[string(key)] = g
	}
	return g
}

func (rs *RuleSet) build(rules []int32) *Group {
	g := &Group{
		rs: rs, rules: rules,
		indexes: make([]*fieldIndex, len(rs.shared.fields)),
		indexed: make([]uint64, len(rs.shared.atoms)/64+1),
	}
	used := make([]bool, len(rs.shared.fields))
	local := make(map[int32]int) // atom to index into g.atoms
	for _, r := range rules {
		g.use(&rs.rules[r].prog.expr, used)
		w := &rs.witnesses[r]
		if w.chance >= unwitnessed {
			g.open = append(g.open, r)
			continue
		}
		for _, a := range w.atoms {
			i, ok := local[a]
			if !ok {
				i = len(g.atoms)
				local[a] = i
				g.atoms = append(g.atoms, groupAtom{atom: a})
			}
			g.atoms[i].rules = append(g.atoms[i].rules, r)
		}
	}
	ids := make(map[string]int32)
	for name, id := range rs.shared.fields {
		if used[id] {
			ids[name] = id
		}
	}
	g.ids = newNameTable(ids)
	g.index()
	return g
}

// use notes the fields that an expression looks at.
func (g *Group) use(e *expr, used []bool) {
	for i := range e.kids {
		g.use(&e.kids[i], used)
	}
	if e.op != exprIs {
		return
	}
	a := &g.rs.shared.atoms[e.atom]
	if a.field == anyField {
		g.every = true
		return
	}
	used[a.field] = true
	if a.op == opFieldRef {
		used[a.other] = true
	}
}

// index files the atoms of the witnesses.
func (g *Group) index() {
	w := weigher{g.rs.shared, g.rs.freq}
	builders := make(map[int32]*indexBuilder)
	for i := range g.atoms {
		id := g.atoms[i].atom
		a := &g.rs.shared.atoms[id]
		ib := builders[a.field]
		if ib == nil {
			ib = &indexBuilder{freq: g.rs.freq}
			builders[a.field] = ib
		}
		ib.file(w, a, int32(i))
		if a.op != opNull && a.op != opExists {
			g.indexed[id/64] |= 1 << (id % 64)
		}
	}
	for field, ib := range builders {
		if field == anyField {
			g.keyword = ib.build()
		} else {
			g.indexes[field] = ib.build()
		}
	}
}

// file adds what stirs atom a, the i-th of the group.
func (ib *indexBuilder) file(w weigher, a *atom, i int32) {
	switch a.op {
	case opLiterals:
		for _, l := range a.literals {
			if a.cased {
				l.text = []byte(fold(string(l.text)))
			}
			ib.add(l, hit{atom: i, exact: !a.cased && len(l.text) > 0})
		}
		return
	case opNumber:
		for _, n := range a.numbers {
			ib.numbers = append(ib.numbers, builtNumber{n, hit{atom: i, exact: true}})
		}
		return
	case opGlob, opRegex:
		if set := w.gate(a); set != nil {
			for _, l := range set {
				ib.add(literalTest{how: contains, text: l}, hit{atom: i})
			}
			return
		}
	}
	ib.always = append(ib.always, hit{atom: i})
}
