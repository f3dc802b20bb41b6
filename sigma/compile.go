package sigma

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"sync"
)

// Options change how rules are compiled. The zero value is ready to use.
type Options struct {
	// Placeholders are the values of %name% in items with the modifier expand.
	// A value is read as a Sigma string, wildcards included. A rule with a
	// placeholder that has no value is left out.
	Placeholders map[string][]string
	// Off holds the ids of the rules, correlations and filters that don't run.
	// A rule stays silent for a correlation that is off.
	Off map[string]bool
}

// A RuleSet is a list of compiled rules. It is immutable and safe for
// concurrent use.
type RuleSet struct {
	rules     []*Rule
	witnesses []witness // by rule
	shared    *shared
	freq      *frequencies
	relations []*relation // the correlations, each behind those it refers to

	mu      sync.RWMutex
	groups  map[string]*Group // by sources; nil where no rule applies
	byRules map[string]*Group // by the rules in it
}

// shared is what the rules of a set have in common.
type shared struct {
	fields map[string]int32 // ids of the fields that rules name
	atoms  []atom
}

// A program is a rule in executable form.
type program struct {
	expr   expr
	shared *shared
}

// Compile makes a RuleSet of the pack. Documents that can't be compiled are
// left out, each with an error; the others run. The RuleSet holds copies: the
// documents given stay as they are, and only the copies, which Rules and Match
// return, can be explained.
func Compile(pack Pack, o Options) (*RuleSet, []*CompileError) {
	c := &compiler{
		options: o,
		shared:  &shared{fields: make(map[string]int32)},
		byKey:   make(map[string]int32),
		regexes: make(map[string]*regex),
	}
	rs := &RuleSet{shared: c.shared, freq: newFrequencies()}
	filters := c.filters(pack)
	for _, r := range pack.Rules {
		if o.Off[r.ID] {
			continue
		}
		e, err := c.search(&r.search)
		if err != nil {
			c.fail(RuleDocument, &r.Meta, err)
			continue
		}
		for _, f := range filters {
			if f.Applies(r) {
				e = join(exprAnd, []expr{e, f.expr})
			}
		}
		compiled := *r
		compiled.prog = &program{expr: e, shared: c.shared}
		rs.rules = append(rs.rules, &compiled)
	}
	c.finish(rs)
	rs.relations = c.relate(rs.rules, pack.Correlations)
	return rs, c.errs
}

// A loweredFilter is a filter in executable form.
type loweredFilter struct {
	*Filter
	expr expr
}

// filters lowers the filters of a pack. One that names a rule that is not
// there is worth an error, and still applies to the others.
func (c *compiler) filters(pack Pack) []loweredFilter {
	var out []loweredFilter
	for _, f := range pack.Filters {
		if c.options.Off[f.ID] {
			continue
		}
		e, err := c.search(&f.search)
		if err != nil {
			c.fail(FilterDocument, &f.Meta, err)
			continue
		}
		out = append(out, loweredFilter{f, e})
		for _, ref := range f.Rules {
			if !slices.ContainsFunc(pack.Rules, func(r *Rule) bool { return r.isNamed(ref) }) {
				c.errs = append(c.errs, missing(FilterDocument, &f.Meta, f.place, ref))
			}
		}
	}
	return out
}

func (c *compiler) fail(d Document, m *Meta, err error) {
	ce := &CompileError{Document: d, Meta: m, Line: m.Line, Reason: err.Error()}
	if le, ok := errors.AsType[*lineError](err); ok {
		ce.Line, ce.Column, ce.Hint = le.line, le.column, le.hint
	}
	c.errs = append(c.errs, ce)
}

func missing(d Document, m *Meta, p place, ref string) *CompileError {
	return &CompileError{Document: d, Meta: m, Line: p.line, Column: p.column, Missing: ref,
		Reason: "names the rule " + strconv.Quote(ref) + ", which is not there", Hint: "rules are named by their id or name"}
}

// Rules returns the rules in the order of Compile. The caller must not change
// the slice.
func (rs *RuleSet) Rules() []*Rule { return rs.rules }

// Len returns the number of rules.
func (rs *RuleSet) Len() int { return len(rs.rules) }

type compiler struct {
	options Options
	errs    []*CompileError
	*shared
	byKey   map[string]int32 // atoms by key
	regexes map[string]*regex
}

func (c *compiler) field(name string) int32 {
	id, ok := c.fields[name]
	if !ok {
		id = int32(len(c.fields))
		c.fields[name] = id
	}
	return id
}

func (c *compiler) intern(a atom) expr {
	a.tidy()
	key := a.key()
	id, ok := c.byKey[key]
	if !ok {
		id = int32(len(c.atoms))
		c.atoms = append(c.atoms, a)
		c.byKey[key] = id
	}
	return expr{op: exprIs, atom: id}
}

// tidy sorts the literals, shorter ones first, and drops repeated ones.
func (a *atom) tidy() {
	slices.SortFunc(a.literals, func(x, y literalTest) int {
		return cmp.Or(cmp.Compare(x.how, y.how), cmp.Compare(len(x.text), len(y.text)), slices.Compare(x.text, y.text))
	})
	a.literals = slices.CompactFunc(a.literals, func(x, y literalTest) bool {
		return x.how == y.how && string(x.text) == string(y.text)
	})
}

func (c *compiler) regex(source, flags string) (*regex, error) {
	key := flags + "/" + source
	if r, ok := c.regexes[key]; ok {
		return r, nil
	}
	r, err := compileRegex(source, flags)
	if err == nil {
		c.regexes[key] = r
	}
	return r, err
}

// finish does what needs the atoms of all rules.
func (c *compiler) finish(rs *RuleSet) {
	for i := range c.atoms {
		for _, l := range c.atoms[i].literals {
			rs.freq.add(string(l.text), 1)
		}
	}
	for i := range c.atoms {
		c.atoms[i].makeSet(rs.freq)
	}
	w := weigher{shared: c.shared, freq: rs.freq}
	rs.witnesses = make([]witness, len(rs.rules))
	for i, r := range rs.rules {
		c.order(&r.prog.expr)
		rs.witnesses[i] = w.witness(&r.prog.expr, false)
	}
}

const (
	manyContains = 5
	manyLiterals = 24
)

// makeSet gives an atom of many literals an index of its own.
func (a *atom) makeSet(freq *frequencies) {
	if a.op != opLiterals || a.cased {
		return
	}
	n := 0
	for _, l := range a.literals {
		if l.how == contains {
			n++
		}
		if len(l.text) == 0 && l.how != equals {
			return // holds always, which an index does not know
		}
	}
	if n < manyContains && len(a.literals) < manyLiterals {
		return
	}
	ib := indexBuilder{freq: freq}
	for _, l := range a.literals {
		ib.add(l, hit{})
	}
	a.set = ib.build()
}

// order sorts the children of every node by cost and works the cost out.
func (c *compiler) order(e *expr) {
	switch e.op {
	case exprIs:
		e.cost = c.atoms[e.atom].cost()
		return
	case exprNot:
		// That a filter does not match is expected: ask it late.
		c.order(&e.kids[0])
		e.cost = 2*e.kids[0].cost + 20
		return
	}
	e.kids = slices.Clone(e.kids)
	total := int32(0)
	for i := range e.kids {
		c.order(&e.kids[i])
		total += e.kids[i].cost
	}
	slices.SortStableFunc(e.kids, func(a, b expr) int { return cmp.Compare(a.cost, b.cost) })
	e.cost = total
	if e.op == exprAnd {
		e.cost = (e.kids[0].cost + total) / 2
	}
}

func (a *atom) cost() int32 {
	cost := int32(5)
	switch a.op {
	case opLiterals:
		if a.set != nil {
			cost = 80
			break
		}
		for _, l := range a.literals {
			if l.how == contains {
				cost += 20
			} else {
				cost += 2
			}
		}
	case opGlob:
		cost = 60
	case opRegex:
		cost = 1000
		if a.regex.gates != nil {
			cost = 300
		}
		if a.regex.least > 0 || a.regex.ordered != nil {
			cost = 50
		}
	case opNumber, opCompare, opCIDR, opFieldRef:
		cost = 25
	}
	if a.field == anyField {
		cost *= 16
	}
	return cost
}
